/** What the server sends, as far as the page reads it. */

export type Named = Record<string, number>;
export type Preference = { weights: Named } | { direction: Named };

export interface Model {
  id: string;
  objectives: string[];
  default_preference: Preference;
  max_model_len?: number | null;
  chat_template?: boolean; // where it is missing, the first answer tells
}

export interface FrontReply {
  objectives: string[];
  units?: string | null;
  level?: number;
  reference_policy?: { rewards: Named } | null;
  points: {
    preference: unknown;
    offered?: boolean; // false: no request can ask for it
    rewards: Named;
    interval?: Record<string, [number | null, number | null] | null> | null;
    label?: string | null;
    sample?: string | null;
  }[];
}

export interface PickReply {
  preference: Preference;
  expected: Record<string, { mean: number; low: number | null; high: number | null }>;
  point: number | null;
  reason: string;
}

export interface ChoicePoint {
  index: number;
  preference: unknown;
  rewards: Named;
  standard_error: Record<string, number | null>;
  sample: string | null;
}

export type Spread = Record<string, { mean: number; low: number; high: number }>;

export interface ChooseReply {
  done: boolean;
  question: { a: ChoicePoint; b: ChoicePoint } | null;
  choice: ChoicePoint & { questions: number; regret: number; probability: number; weights: Spread };
  state: unknown;
}

export interface Chunk {
  error?: { message: string };
  choices?: { text?: string; delta?: { content?: string | null }; finish_reason?: string | null }[];
  usage?: { completion_tokens: number } | null;
  preference?: Preference;
  preference_source?: string;
}

export interface Feedback {
  weights?: Spread;
}
