// Filters in the days of this browser; what is empty does not stand in the address.
import { ZONE, byId } from "./common.js";

byId("zone").value = ZONE;
byId("filters").addEventListener("submit", (event) => {
  const dated = byId("f-first").value || byId("f-last").value;
  for (const field of event.target.elements) if (field.name && (!field.value || (field.name === "zone" && !dated))) field.disabled = true;
});
addEventListener("pageshow", () => { for (const field of byId("filters").elements) field.disabled = false; });
