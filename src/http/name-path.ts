/** Names of backups in URLs: the rest of the path, whose slashes separate the segments. */

/** A name as it stands in a URL. No segment of a name is "." or "..", which URL parsers would remove. */
export function encodeName(name: string): string {
  return name.split('/').map(encodeURIComponent).join('/');
}

/** The name that the rest of a path stands for, decoded once. What is no percent-encoding is taken as it is. */
export function decodeName(encoded: string): string {
  try {
    return decodeURIComponent(encoded);
  } catch {
    return encoded;
  }
}
