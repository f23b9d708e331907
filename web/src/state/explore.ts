/** The same prompt under every taste; again when a taste was moved and came to rest. */
import { effect } from "@preact/signals";
import { answer, clear, explored, live, prompt, settings } from "./answers";
import { asPreference } from "./server";
import { mode, removeTaste, tastes } from "./tastes";

const REST = 450;

export function answerAll(): void {
  if (!prompt.value.trim()) return;
  tastes.value.forEach((taste, i) => void answer(explored[i], asPreference(taste.weights)));
}

/** Other words for the same tastes: the next seed. */
export function answerDifferently(): void {
  settings.value = { ...settings.value, seed: settings.value.seed + 1 };
  answerAll();
}

/** Remove a taste; the columns behind it move up with their answers. */
export function remove(index: number): void {
  for (let i = index; i + 1 < tastes.value.length; i++) {
    const next = explored[i + 1].value;
    clear(explored[i]);
    if (next.state !== "waiting" && next.state !== "writing") explored[i].value = next;
  }
  clear(explored[tastes.value.length - 1]);
  removeTaste(index);
}

/** A column shows an answer to other weights than its taste has now. */
export function outdated(index: number): boolean {
  const shown = explored[index].value;
  return shown.state !== "none" && JSON.stringify(shown.asked) !== JSON.stringify(asPreference(tastes.value[index].weights));
}

export function followTheSliders(): () => void {
  let resting: ReturnType<typeof setTimeout> | undefined;
  return effect(() => {
    const moved = tastes.value.length > 0 && mode.value === "explore" && live.value;
    clearTimeout(resting);
    if (moved) resting = setTimeout(again, REST);
  });
}

/** To the prompt that the columns have, whatever was typed since: side by side stand answers to one prompt. */
function again(): void {
  const begun = explored.find((column) => column.value.state !== "none");
  if (!begun) return;
  const asked = begun.value.prompt;
  tastes.value.forEach((taste, i) => {
    const shown = explored[i].value;
    if (shown.state === "none" || shown.prompt !== asked || outdated(i)) void answer(explored[i], asPreference(taste.weights), asked);
  });
}
