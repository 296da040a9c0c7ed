// Thresholds changed, and a bundle loaded again.
import { post, who } from "./common.js";

for (const section of document.querySelectorAll(".model")) {
  const place = `/v1/models/${encodeURIComponent(section.dataset.model)}`;
  const said = section.querySelector(".said-here");

  async function act(what) {
    said.className = "said-here quiet";
    said.textContent = "…";
    try { await what(); } catch (error) { said.className = "said-here fault"; said.textContent = error.message; return; }
    location.reload();
  }

  section.querySelector("form")?.addEventListener("submit", (event) => {
    event.preventDefault();
    const { review, ng, why } = event.target.elements;
    const asked = () => ({ fingerprint: section.dataset.fingerprint, review: Number(review.value), ng: ng.value === "" ? null : Number(ng.value), who: who(), why: why.value });
    act(() => post(`${place}/thresholds`, asked()));
  });
  section.querySelector(".load")?.addEventListener("click", () => act(() => post(`${place}/load`, { who: who() })));
}
