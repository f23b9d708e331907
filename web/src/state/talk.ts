/** The conversation that finds the reader's weights: two points of the front, the same prompt under both, which is better? */
import { signal } from "@preact/signals";
import { ask, sentence } from "../api/client";
import type { ChooseReply, Spread } from "../api/types";
import { answer, clear, prompt, questioned } from "./answers";
import { weightsOf } from "../model/front";
import { objectives } from "./server";
import { found, mode, setWeights, type Mode } from "./tastes";
import { learnFromPair, user } from "./user";

export type Verdict = "a" | "b" | "cant_tell";

export const talk = signal<ChooseReply | null>(null);
export const thinking = signal(false);
export const trouble = signal("");

export function switchTo(next: Mode): void {
  if (mode.value === next) return;
  mode.value = next;
  if (next === "find" && talk.value === null) void startTalk();
}

export async function startTalk(): Promise<void> {
  await step({});
}

export async function reply(verdict: Verdict): Promise<void> {
  const now = talk.value;
  if (!now?.question || thinking.value) return;
  const [a, b] = questioned.map((column) => column.value);
  if (user.value && verdict !== "cant_tell") {
    const pair = verdict === "a" ? ([a, b, now.question.a, now.question.b] as const) : ([b, a, now.question.b, now.question.a] as const);
    void learnFromPair(pair[0], pair[1], pair[2].preference, pair[3].preference, false);
  }
  await step({ state: now.state, answer: verdict });
}

/** What the server believes so far becomes the reader's weights, whatever is asked next. */
async function step(body: object): Promise<void> {
  thinking.value = true;
  trouble.value = "";
  try {
    const next = await ask<ChooseReply>("v1/preferences/choose", body);
    talk.value = next;
    if (next.choice.questions > 0) show(next.choice.weights);
    if (next.done) setWeights(weightsOf(next.choice.preference, objectives.value) ?? meanOf(next.choice.weights), 0);
    answerQuestion();
  } catch (error) {
    trouble.value = sentence(error);
  } finally {
    thinking.value = false;
  }
}

/** Ask for both answers to the open question. */
export function answerQuestion(): void {
  questioned.forEach(clear);
  const question = talk.value?.question;
  if (!question || !prompt.value.trim()) return;
  void answer(questioned[0], question.a.preference);
  void answer(questioned[1], question.b.preference);
}

const meanOf = (weights: Spread) => objectives.value.map((name) => weights[name].mean);

function show(weights: Spread): void {
  const side = (end: "low" | "high") => objectives.value.map((name) => weights[name][end]);
  found(meanOf(weights), side("low"), side("high"));
}
