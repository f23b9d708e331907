/** Answers that are being written, one a column, and how they are asked for. */
import { computed, signal, type Signal } from "@preact/signals";
import { ApiError, sentence } from "../api/client";
import { chunks } from "../api/stream";
import type { Preference } from "../api/types";
import { chat, model } from "./server";

export interface Answer {
  state: "none" | "waiting" | "writing" | "done" | "stopped" | "failed";
  prompt: string;
  text: string;
  asked: unknown; // the preference that was sent
  effective: Preference | null; // and the one that the server says it used
  tokens: number | null;
  finish: string | null;
  error: string;
}

export type Column = Signal<Answer>;

const NONE: Answer = { state: "none", prompt: "", text: "", asked: null, effective: null, tokens: null, finish: null, error: "" };
const columns = (count: number): Column[] => Array.from({ length: count }, () => signal(NONE));

export const explored: Column[] = columns(3);
export const questioned: Column[] = columns(2);

export const prompt = signal("");
export const settings = signal({ max_tokens: 200, temperature: 0.7, seed: 1 });
/** Answer again when the sliders come to rest. */
export const live = signal(true);

const running = new Map<Column, AbortController>();
const isBusy = (answer: Answer) => answer.state === "waiting" || answer.state === "writing";
export const busy = computed(() => [...explored, ...questioned].some((column) => isBusy(column.value)));
export const finished = (answer: Answer) => answer.text !== "" && (answer.state === "done" || answer.state === "stopped");
/** Whether answers can be judged against each other: all are written, to the same prompt. */
export const comparable = (answers: readonly Answer[]) => answers.every((one) => finished(one) && one.prompt === answers[0].prompt);

export function stop(column: Column): void {
  running.get(column)?.abort();
  running.delete(column);
  if (isBusy(column.value)) column.value = { ...column.value, state: "stopped" };
}

export function stopAll(): void {
  [...explored, ...questioned].forEach(stop);
}

export function clear(column: Column): void {
  stop(column);
  column.value = NONE;
}

/** Ask for one answer; one that is still being written in this column is stopped. */
export async function answer(column: Column, preference: unknown, text = prompt.value): Promise<void> {
  stop(column);
  const mine = new AbortController();
  const conversation = chat.value;
  running.set(column, mine);
  column.value = { ...NONE, state: "waiting", prompt: text, asked: preference };
  try {
    await write(column, conversation, mine.signal);
  } catch (error) {
    if (mine.signal.aborted) return;
    if (conversation && wantsNoConversation(error)) {
      chat.value = false;
      return await answer(column, preference, text);
    }
    column.value = { ...column.value, state: "failed", error: sentence(error) };
  } finally {
    if (running.get(column) === mine) running.delete(column);
  }
}

async function write(column: Column, conversation: boolean, signal: AbortSignal): Promise<void> {
  const { asked, prompt: text } = column.value;
  const input = conversation ? { messages: [{ role: "user", content: text }] } : { prompt: text };
  const body = { model: model.value?.id, ...input, ...settings.value, preference: asked };
  for await (const chunk of chunks(conversation ? "v1/chat/completions" : "v1/completions", body, signal)) {
    if (signal.aborted) return;
    const choice = chunk.choices?.[0];
    const old = column.value;
    column.value = {
      ...old,
      state: "writing",
      text: old.text + (choice?.text ?? choice?.delta?.content ?? ""),
      finish: choice?.finish_reason ?? old.finish,
      effective: chunk.preference ?? old.effective,
      tokens: chunk.usage?.completion_tokens ?? old.tokens,
    };
  }
  if (!signal.aborted) column.value = { ...column.value, state: "done" };
}

const wantsNoConversation = (error: unknown) =>
  error instanceof ApiError && error.status === 400 && error.message.includes("no chat template");
