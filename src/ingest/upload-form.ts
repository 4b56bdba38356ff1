import { VaultError } from '../shared/errors.ts';
import { shownName } from '../shared/shown-name.ts';
import type { Pieces } from '../shared/streams.ts';
import { boundaryOf, type FormPart, MalformedMultipart, multipartParts, readField } from './multipart-form.ts';

/** The one option that still has an effect once the file has been received. */
const MAY_COME_LAST = 'sha256';

export interface UploadForm {
  /** Fields before the file, by name; several recipients are joined by commas. */
  readonly fields: Readonly<Record<string, string>>;
  readonly file: {
    readonly filename: string;
    readonly contentType: string | undefined;
    /** What the file has if nothing follows it in the form: the usual case. 0 where unknown. */
    readonly expectedBytes: number;
    readonly content: Pieces;
  };
  /** To be called when the content has ended: reads the form to its end. Gives the fields after the file. */
  ending(): Promise<Readonly<Record<string, string>>>;
}

const SEND_A_FILE = 'Send one as the part "file", e.g. curl -F file=@site.tar.';

class NoForm extends VaultError {
  constructor() {
    super('no-file', `The body is not a form with a boundary. ${SEND_A_FILE}`);
  }
}

/** Names the parts that came, because the file is often there under another name. */
class NoFile extends VaultError {
  constructor(fields: readonly string[], file?: string) {
    const named = (names: readonly string[]) => names.map(shownName).join(', ');
    const came =
      file !== undefined
        ? `a file as the part ${named([file])}`
        : fields.length > 0
          ? `the fields ${named(fields)}`
          : 'no part';
    super('no-file', `The form has no file named "file"; it has ${came}. ${SEND_A_FILE}`);
  }
}

/** Reads a form up to its file. `bodyBytes`: the envelope's Content-Length, 0 where unknown. */
export async function openForm(body: Pieces, contentType: string, bodyBytes: number): Promise<UploadForm> {
  const boundary = boundaryOf(contentType);
  if (boundary === null) throw new NoForm();
  const parts = multipartParts(body, boundary);
  const fields: Record<string, string> = {};
  while (true) {
    const { done, value: part } = await parts.next();
    if (done) throw new NoFile(Object.keys(fields));
    if (part.name === 'file' && part.filename !== undefined) {
      return {
        fields,
        file: {
          filename: part.filename,
          contentType: part.contentType,
          expectedBytes: Math.max(0, bodyBytes - part.offset - `\r\n--${boundary}--\r\n`.length),
          content: part.body,
        },
        ending: () => readEnding(parts),
      };
    }
    if (part.filename !== undefined) throw new NoFile(Object.keys(fields), part.name);
    addField(fields, part.name, await readField(part));
  }
}

async function readEnding(parts: AsyncGenerator<FormPart, void, undefined>): Promise<Record<string, string>> {
  const fields: Record<string, string> = {};
  for await (const part of parts) {
    refuseFile(part);
    if (part.name !== MAY_COME_LAST) {
      throw new VaultError(
        'invalid-option',
        `The field ${shownName(part.name)} comes after the file, where it has no effect: put it before the file.`,
      );
    }
    addField(fields, part.name, await readField(part));
  }
  return fields;
}

/** A form may repeat a field if the values are the same; recipients are joined. */
function addField(fields: Record<string, string>, name: string, value: string): void {
  const before = fields[name];
  if (before !== undefined && name !== 'recipient' && before !== value) {
    throw new VaultError('invalid-option', `${name}: it is given twice, with different values.`);
  }
  fields[name] = name === 'recipient' && before !== undefined ? `${before},${value}` : value;
}

/** A file that we would drop is a file that somebody believes to be safe. */
function refuseFile(part: FormPart): void {
  if (part.filename !== undefined)
    throw new MalformedMultipart('the form has a second file; send one file a form, as the part "file"', part.offset);
}
