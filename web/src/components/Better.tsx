import { explored, finished } from "../state/answers";
import { LETTERS, tastes } from "../state/tastes";
import { front } from "../state/server";
import { switchTo } from "../state/talk";
import { learnFromPair, user, userNote } from "../state/user";

/** Which answer is better? With a name set, the server learns from it; without one, it can ask. */
export function Better() {
  const count = tastes.value.length;
  const done = explored.slice(0, count).every((column) => finished(column.value));
  if (count < 2 || !done) return null;
  if (!user.value) {
    if (!front.value) return null;
    return (
      <div class="verdict hint">
        <p>Not sure which weights are yours? Answer a few questions instead.</p>
        <button type="button" onClick={() => switchTo("find")}>Find your taste</button>
      </div>
    );
  }
  const choose = async (best: number) => {
    const [chosen, ...rest] = [best, ...explored.keys()].filter((i, at) => i < count && (at === 0 || i !== best));
    for (const other of rest) {
      const [a, b] = [explored[chosen].value, explored[other].value];
      await learnFromPair(a, b, a.asked, b.asked, true);
    }
  };
  return (
    <div class="verdict">
      <p id="better-title">Which do you like better, {user.value}?</p>
      <div class="row" role="group" aria-labelledby="better-title">
        {LETTERS.slice(0, count).map((letter, i) => (
          <button type="button" key={letter} id={`better-${letter}`} onClick={() => void choose(i)}>{letter} is better</button>
        ))}
      </div>
      {userNote.value && <p class="note" role="status">{userNote.value}</p>}
    </div>
  );
}
