/** Whether there is room for one column only; then the front stands below the answers, which the sliders change. */
import { signal } from "@preact/signals";

const query = matchMedia("(max-width: 860px)");

export const narrow = signal(query.matches);
query.addEventListener("change", () => (narrow.value = query.matches));
