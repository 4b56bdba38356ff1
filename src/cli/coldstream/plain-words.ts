/** What the vault says of its HTTP interface, in the words of this command. */

/** Codes whose sentence speaks to programs; the command says it by itself. */
const SENTENCES: Readonly<Record<string, string>> = {
  unauthorized: 'The vault does not accept this token: it is wrong, revoked or expired.',
  'backup-encrypted': 'This backup is encrypted. Pull it with --identity FILE.',
  'broken-archive': 'The file is no whole tar archive, so nothing was stored. Create the archive again.',
  'empty-upload': 'The input is empty, so nothing was stored.',
  'job-ended': 'Nothing runs under this name, so there is nothing to cancel.',
  'level-unsupported': 'This vault cannot compress at that level. Use a lower --level.',
  'stored-data-lost': 'The vault has lost the stored bytes of this backup. Use another backup.',
  'stored-data-corrupt': 'The stored bytes of this backup are damaged. Use another backup.',
  'too-many-transfers': 'This token has too many transfers at once. Try again when some of them have ended.',
  'links-not-configured': 'This vault has no keys to sign links with. Ask its operator.',
};

/** Requests that a sentence of the vault names, and what does the same here. */
const COMMANDS: readonly (readonly [RegExp, string])[] = [
  [/\bPOST \/jobs\/([A-Za-z0-9_-]+)\/cancel/g, 'coldstream jobs --cancel $1'],
  [/\bGET \/backup\/\{id\}\/files/g, 'coldstream files ID'],
  [/\bPOST \/backup\/\{id\}\/verify/g, 'coldstream verify ID'],
  [/\bGET \/backup\b(?!\/)/g, 'coldstream ls'],
  [/\bGET \/tokens\b/g, 'coldstream tokens'],
  [/\bPOST \/tokens\b/g, 'coldstream tokens --create NAME'],
  [/\bGET \/jobs\b(?!\/)/g, 'coldstream jobs'],
  [/\bjob_id\b/g, '--job'],
  [/\ballow_empty=true\b/g, '--allow-empty'],
  [/\brequire=whole-archive\b/g, '--whole-archive'],
];

export function plainWords(code: string, detail: string): string {
  const own = SENTENCES[code];
  if (own !== undefined) return own;
  return COMMANDS.reduce((text, [words, command]) => text.replace(words, command), detail);
}
