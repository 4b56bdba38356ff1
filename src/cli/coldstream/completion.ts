import type { Command, Option } from 'commander';
import { UsageError } from './failures.ts';

export const SHELLS = ['bash', 'zsh', 'fish'] as const;

/** A script for the shell that completes commands, options and the words that an option takes. */
export function completion(program: Command, shell: string): string {
  if (shell === 'bash') return bash(program);
  if (shell === 'zsh') return zsh(program);
  if (shell === 'fish') return fish(program);
  throw new UsageError(`There are completions for ${SHELLS.join(', ')}.`);
}

function bash(program: Command): string {
  const cases = program.commands.map((command) => {
    const options = flagsOf(command).join(' ');
    const choices = command.options
      .filter(({ argChoices }) => argChoices)
      .map(({ long, argChoices }) => `      ${long}) words='${argChoices?.join(' ')}' ;;`);
    return [
      `    ${command.name()})`,
      ...(choices.length > 0 ? ['      case $previous in', ...choices, '      esac'] : []),
      `      [[ $word == -* ]] && words='${options}' ;;`,
    ].join('\n');
  });
  return `# bash completion for coldstream
_coldstream() {
  local word=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD-1]} words=''
  if (( COMP_CWORD == 1 )); then
    COMPREPLY=($(compgen -W '${names(program).join(' ')}' -- "$word"))
    return
  fi
  case \${COMP_WORDS[1]} in
${cases.join('\n')}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$word"))
}
complete -o default -F _coldstream coldstream
`;
}

function zsh(program: Command): string {
  const commands = program.commands.map((one) => `    ${quoted(`${one.name()}:${one.description()}`)}`);
  const cases = program.commands.map((command) => {
    const options = command.options.map((option) => `      ${quoted(zshOption(option))}`);
    return [
      `    ${command.name()}) _arguments \\`,
      ...options.map((line) => `${line} \\`),
      "      '*:file:_files' ;;",
    ].join('\n');
  });
  return `#compdef coldstream
_coldstream() {
  local -a commands
  commands=(
${commands.join('\n')}
  )
  if (( CURRENT == 2 )); then
    _describe command commands
    return
  fi
  local command=$words[2]
  shift words
  (( CURRENT-- ))
  case $command in
${cases.join('\n')}
  esac
}
compdef _coldstream coldstream
`;
}

function zshOption({ long, description, argChoices, ...option }: Option): string {
  const words = description.replace(/[[\]:\\]/g, '');
  const takes = option.required ? `:value:${argChoices ? `(${argChoices.join(' ')})` : '_files'}` : '';
  return `${long}[${words}]${takes}`;
}

function fish(program: Command): string {
  const commands = program.commands.map(
    (one) => `complete -c coldstream -n __fish_use_subcommand -f -a ${one.name()} -d ${quoted(one.description())}`,
  );
  const options = program.commands.flatMap((command) =>
    command.options.map(({ long, short, required, description, argChoices }) =>
      [
        `complete -c coldstream -n '__fish_seen_subcommand_from ${command.name()}'`,
        `-l ${long?.slice(2)}`,
        ...(short ? [`-s ${short.slice(1)}`] : []),
        ...(required ? ['-r'] : []),
        ...(argChoices ? ['-f', `-a ${quoted(argChoices.join(' '))}`] : []),
        `-d ${quoted(description)}`,
      ].join(' '),
    ),
  );
  return `# fish completion for coldstream\n${[...commands, ...options].join('\n')}\n`;
}

function names(program: Command): string[] {
  return [...program.commands.map((command) => command.name()), 'help'];
}

function flagsOf({ options }: Command): string[] {
  return [...options.flatMap(({ short, long }) => [short, long].filter((flag) => flag !== undefined)), '--help'];
}

/** All three shells take it so; fish needs `\'` instead of `'\''`, which descriptions avoid by having no quote. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", '’')}'`;
}
