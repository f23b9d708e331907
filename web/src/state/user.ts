/** Who is asking: with a name, the server learns this reader's weights from pairs of answers. */
import { signal } from "@preact/signals";
import { ApiError, ask, sentence } from "../api/client";
import type { Feedback } from "../api/types";
import type { Answer } from "./answers";
import { finished } from "./answers";
import { objectives } from "./server";
import { found } from "./tastes";

export const user = signal("");
/** What the server last said about this reader, for the reader. */
export const userNote = signal("");

const path = () => `v1/users/${encodeURIComponent(user.value)}`;

/** Tell the server which of two answers is better; its new weights for this reader move the sliders if wanted. */
export async function learnFromPair(better: Answer, worse: Answer, chosen: unknown, rejected: unknown, move: boolean): Promise<void> {
  const texts = finished(better) && finished(worse) ? { prompt: better.prompt, chosen: better.text, rejected: worse.text } : {};
  await tell({ user: user.value, ...texts, chosen_preference: chosen, rejected_preference: rejected }, move);
}

async function tell(body: object, move: boolean): Promise<void> {
  try {
    const learned = await ask<Feedback>("v1/feedback", body);
    if (move) show(learned);
    userNote.value = `Learned. ${user.value}'s next answers without weights follow this.`;
  } catch (error) {
    userNote.value = sentence(error);
  }
}

/** Start from what the server knows of this reader, if it knows anything. */
export async function recall(name: string): Promise<void> {
  user.value = name.trim();
  userNote.value = "";
  if (!user.value) return;
  try {
    const known = await ask<Feedback>(path());
    show(known);
    userNote.value = `Welcome back, ${user.value}: these are your weights so far.`;
  } catch (error) {
    const isNew = error instanceof ApiError && error.code === "user_not_found";
    userNote.value = isNew ? `New here: say which answers you like, and ${user.value}'s weights follow.` : sentence(error);
  }
}

export async function forget(): Promise<void> {
  try {
    await ask<unknown>(path(), undefined, "DELETE");
    userNote.value = `Everything about ${user.value} was deleted.`;
  } catch (error) {
    userNote.value = sentence(error);
  }
}

function show({ weights }: Feedback): void {
  if (!weights) return;
  const side = (end: "mean" | "low" | "high") => objectives.value.map((name) => weights[name]?.[end] ?? NaN);
  found(side("mean"), side("low"), side("high"));
}
