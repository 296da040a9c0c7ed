const form = document.getElementById("sign-in");

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const token = document.getElementById("token").value.trim();
  const headers = { "Content-Type": "application/json" };
  const answer = await fetch("/sign-in", { method: "POST", headers, body: JSON.stringify({ token }) });
  if (answer.ok) return location.reload();
  document.getElementById("fault").textContent = (await answer.json()).error;
  document.getElementById("token").select();
});
document.body.classList.add("ready");
