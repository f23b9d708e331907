/** Who is asking: with a name, the server learns this reader's weights from pairs of answers. */
import { signal } from "@preact/signals";
import { ApiError, ask, sentence } from "../api/client";
import type { Feedback } from "../api/types";
import type { Answer } from "./answers";
import { comparable } from "./answers";
import { objectives } from "./server";
import { found } from "./tastes";

export const user = signal("");
/** What the server last said about this reader, for the reader. */
export const userNote = signal("");
/** Whether the server is learning: until it has, another verdict would be on what is about to change. */
export const learning = signal(false);

const path = (name: string) => `v1/users/${encodeURIComponent(name)}`;
// As a part of an address they would be lost.
const LOST = [".", ".."];

/** Tell the server that one answer is better than each of the others; its new weights for this reader then move the sliders. */
export async function learnFromBest(better: Answer, others: readonly Answer[]): Promise<void> {
  if (learning.value) return;
  learning.value = true;
  const name = user.value;
  try {
    for (const [i, worse] of others.entries()) {
      await learnFromPair(better, worse, better.asked, worse.asked, i === others.length - 1, name);
    }
  } finally {
    learning.value = false;
  }
}

/** Tell the server which of two answers is better, by their texts only if both answer the same prompt. */
export async function learnFromPair(better: Answer, worse: Answer, chosen: unknown, rejected: unknown, move: boolean, name = user.value): Promise<void> {
  const texts = comparable([better, worse]) ? { prompt: better.prompt, chosen: better.text, rejected: worse.text } : {};
  await tell(name, { ...texts, chosen_preference: chosen, rejected_preference: rejected }, move);
}

async function tell(name: string, body: object, move: boolean): Promise<void> {
  await replied(name, ask<Feedback>("v1/feedback", { user: name, ...body }), (learned) => {
    if (move) show(learned);
    return `Learned. ${name}'s next answers without weights follow this.`;
  });
}

/** Show what the server says of a reader, unless somebody else reads by then. */
async function replied<Reply>(name: string, reply: Promise<Reply>, said: (reply: Reply) => string, failed: (error: unknown) => string = sentence): Promise<void> {
  try {
    const found = await reply;
    if (user.value === name) userNote.value = said(found);
  } catch (error) {
    if (user.value === name) userNote.value = failed(error);
  }
}

/** Start from what the server knows of this reader, if it knows anything. */
export async function recall(given: string): Promise<void> {
  const name = given.trim();
  const lost = LOST.includes(name);
  user.value = lost ? "" : name;
  userNote.value = lost ? `Please take a name other than ${name}` : "";
  if (!user.value) return;
  const welcome = (known: Feedback) => {
    show(known);
    return `Welcome back, ${name}: these are your weights so far.`;
  };
  const failed = (error: unknown) => {
    const isNew = error instanceof ApiError && error.code === "user_not_found";
    return isNew ? `New here: say which answers you like, and ${name}'s weights follow.` : sentence(error);
  };
  await replied(name, ask<Feedback>(path(name)), welcome, failed);
}

export async function forget(): Promise<void> {
  const name = user.value;
  await replied(name, ask<unknown>(path(name), undefined, "DELETE"), () => `Everything about ${name} was deleted.`);
}

function show({ weights }: Feedback): void {
  if (!weights) return;
  const side = (end: "mean" | "low" | "high") => objectives.value.map((name) => weights[name]?.[end] ?? NaN);
  found(side("mean"), side("low"), side("high"));
}
