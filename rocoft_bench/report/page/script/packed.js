// Pieces of JSON that lie in the page compressed: gzip in base64.

const unpacked = new Map();

function unpack(name) {
  if (!unpacked.has(name)) unpacked.set(name, inflate(document.getElementById(`piece-${name}`).textContent));
  return unpacked.get(name);
}

async function inflate(text) {
  if (typeof DecompressionStream === "undefined") {
    throw new Error(
      "This browser cannot unpack the details of runs (it has no DecompressionStream); " +
        "Chrome 80, Firefox 113, Safari 16.4 or newer can.",
    );
  }
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).json();
}
