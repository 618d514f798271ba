// Word diff of two texts.

/** Words of `a` and of `b` as `{word, same}`, by their longest common subsequence. Case and punctuation do not matter. */
export function diff(a, b) {
  const [left, right] = [words(a), words(b)];
  const [leftKeys, rightKeys] = [left.map(key), right.map(key)];
  const width = right.length + 1;
  const longest = new Uint16Array((left.length + 1) * width);
  for (let i = left.length - 1; i >= 0; i--) {
    for (let j = right.length - 1; j >= 0; j--) {
      longest[i * width + j] =
        leftKeys[i] === rightKeys[j]
          ? longest[(i + 1) * width + j + 1] + 1
          : Math.max(longest[(i + 1) * width + j], longest[i * width + j + 1]);
    }
  }
  const parts = [left.map((word) => ({ word, same: false })), right.map((word) => ({ word, same: false }))];
  for (let i = 0, j = 0; i < left.length && j < right.length; ) {
    if (leftKeys[i] === rightKeys[j]) parts[0][i++].same = parts[1][j++].same = true;
    else if (longest[(i + 1) * width + j] >= longest[i * width + j + 1]) i++;
    else j++;
  }
  return parts;
}

const key = (word) => word.toLowerCase().replace(/[.,;:?!]+$/, "");
const words = (text) => text.split(/\s+/).filter(Boolean);
