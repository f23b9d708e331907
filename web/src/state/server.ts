/** The served model and its front, once the server has them. */
import { computed, signal } from "@preact/signals";
import { ApiError, ask, keyWanted } from "../api/client";
import type { FrontReply, Model } from "../api/types";
import { frontOf, weightsOf, type Front } from "../model/front";
import { rounded, uniform, type Weights } from "../model/simplex";
import { begin } from "./tastes";

export const model = signal<Model | null>(null);
export const front = signal<Front | null>(null);
/** Why there is no front to see, in the server's words. */
export const frontNote = signal("");
/** What the page waits for while there is no model. */
export const waitingFor = signal("the server");
/** Whether the model takes conversations; until the first answer or the server tells, it is assumed. */
export const chat = signal(true);

export const objectives = computed(() => model.value?.objectives ?? []);

const RETRY = 1500;

/** Wait until the model is loaded, then read what there is to know. Runs again when a key is entered. */
export async function connect(): Promise<void> {
  for (;;) {
    try {
      const { data } = await ask<{ data: Model[] }>("v1/models");
      await readFront(data[0].objectives);
      start(data[0]);
      return;
    } catch (error) {
      if (error instanceof ApiError && error.status === 401) return; // the form for the key calls again
      waitingFor.value = error instanceof Error ? error.message : String(error);
      await new Promise((done) => setTimeout(done, RETRY));
    }
  }
}

function start(found: Model): void {
  keyWanted.value = "";
  chat.value = found.chat_template ?? true;
  begin(weightsOf(found.default_preference, found.objectives) ?? uniform(found.objectives.length));
  model.value = found;
}

async function readFront(names: readonly string[]): Promise<void> {
  try {
    front.value = frontOf(await ask<FrontReply>("v1/front"), names);
  } catch (error) {
    // Refused or not there: the page does without. Anything else is tried again.
    if (!(error instanceof ApiError) || ![403, 404].includes(error.status)) throw error;
    frontNote.value = error.message;
  }
}

/** Weights as a request names them: a model that is steered by directions gets the direction of the same proportions. */
export function asPreference(weights: Weights): object {
  const values = rounded(weights, 4);
  const directed = model.value !== null && "direction" in model.value.default_preference;
  const size = directed ? Math.hypot(...values) : 1;
  const named = Object.fromEntries(objectives.value.map((name, k) => [name, values[k] / size]));
  return directed ? { direction: named } : { weights: named };
}
