//! `d2r cli-reference`, hidden: the reference of the command line as Markdown, made from the parser.
//! `docs/cli.md` is its output.

use std::collections::BTreeSet;
use std::fmt::Write;

use clap::{Arg, Command, CommandFactory};

use crate::error::Result;

const HEAD: &str = "\
# Command line

Made by `d2r cli-reference > docs/cli.md` from the parser; a test compares the two.
";

pub fn run() -> Result<()> {
    crate::cli::output::lines(&markdown(crate::cli::Cli::command()))
}

fn markdown(mut root: Command) -> String {
    root.build();
    let mut text = format!("{HEAD}\n{}\n\n{}", sentence(root.get_about()), examples(&root));
    text.push_str("\n## Shared flags\n\nA verb takes those that its section names; ");
    let everywhere: Vec<String> = shown(&root).map(|a| format!("`{}`", name(a))).collect();
    let _ = writeln!(text, "every verb takes {}.\n", everywhere.join(" and "));
    table(&mut text, shared(&root).into_iter());
    let every: BTreeSet<&str> = shown(&root).map(|a| a.get_id().as_str()).collect();
    for verb in verbs(&root) {
        section(&mut text, verb, 2, &every);
    }
    while text.contains("\n\n\n") {
        text = text.replace("\n\n\n", "\n\n");
    }
    text
}

/// One verb and the verbs below it. `above` are the flags that its parents describe.
fn section(text: &mut String, command: &Command, depth: usize, above: &BTreeSet<&str>) {
    let title = command.get_bin_name().unwrap_or(command.get_name());
    let _ =
        writeln!(text, "\n{} {title}\n\n{}\n\n{}", "#".repeat(depth), sentence(command.get_about()), examples(command));
    let (common, own): (Vec<&Arg>, Vec<&Arg>) =
        shown(command).filter(|a| !above.contains(a.get_id().as_str())).partition(|a| is_shared(a));
    table(text, own.into_iter());
    if !common.is_empty() {
        let names: Vec<String> = common.iter().map(|a| format!("`{}`", name(a))).collect();
        let _ = writeln!(text, "\nShared: {}.", names.join(", "));
    }
    let mut above = above.clone();
    above.extend(common.iter().map(|a| a.get_id().as_str()));
    for verb in verbs(command) {
        section(text, verb, depth + 1, &above);
    }
}

fn verbs(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|c| !c.is_hide_set() && c.get_name() != "help")
}

fn shown(command: &Command) -> impl Iterator<Item = &Arg> {
    command.get_arguments().filter(|a| !a.is_hide_set() && !["help", "version"].contains(&a.get_id().as_str()))
}

/// Flags of a group have a heading, a verb's own flags have none.
fn is_shared(arg: &Arg) -> bool {
    arg.get_help_heading().is_some()
}

/// The shared flags of all verbs, each once.
fn shared(root: &Command) -> Vec<&Arg> {
    fn collect<'a>(command: &'a Command, seen: &mut BTreeSet<&'a str>, found: &mut Vec<&'a Arg>) {
        found.extend(shown(command).filter(|a| is_shared(a) && seen.insert(a.get_id().as_str())));
        verbs(command).for_each(|verb| collect(verb, seen, found));
    }
    let mut found = Vec::new();
    collect(root, &mut BTreeSet::new(), &mut found);
    found
}

/// The text with its full stop, which help texts on a terminal do not have.
fn sentence(text: Option<&clap::builder::StyledStr>) -> String {
    let text = text.map(ToString::to_string).unwrap_or_default();
    if text.is_empty() || text.ends_with('.') { text } else { text + "." }
}

/// Usage and the text after the help, as on a terminal.
fn examples(command: &Command) -> String {
    let usage = command.clone().render_usage().to_string();
    let usage = usage.strip_prefix("Usage: ").unwrap_or(&usage).trim().to_owned();
    let after = command.get_after_help().map(|text| format!("\n\n{text}")).unwrap_or_default();
    format!("```text\n{usage}{after}\n```\n")
}

fn table<'a>(text: &mut String, args: impl Iterator<Item = &'a Arg>) {
    for (i, arg) in args.enumerate() {
        if i == 0 {
            text.push_str("| argument | meaning |\n|---|---|\n");
        }
        let _ = writeln!(text, "| `{}` | {} |", spelled(arg), meaning(arg).replace('|', "\\|"));
    }
}

/// The long flag, or the value's name of a positional argument.
fn name(arg: &Arg) -> String {
    arg.get_long().map_or_else(|| values(arg), |long| format!("--{long}"))
}

fn values(arg: &Arg) -> String {
    let names = arg.get_value_names().unwrap_or_default();
    names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

fn spelled(arg: &Arg) -> String {
    let takes_value = arg.get_action().takes_values() && arg.get_long().is_some();
    let short = arg.get_short().map(|c| format!("-{c}, ")).unwrap_or_default();
    let value = if takes_value { format!(" {}", values(arg)) } else { String::new() };
    format!("{short}{}{value}", name(arg))
}

fn meaning(arg: &Arg) -> String {
    let mut text = sentence(arg.get_help());
    // A flag without a value has the possible values true and false.
    if arg.get_action().takes_values() {
        let possible = arg.get_possible_values();
        if !possible.is_empty() {
            let list: Vec<String> = possible.iter().map(|v| format!("`{}`", v.get_name())).collect();
            let _ = write!(text, " One of {}.", list.join(", "));
        }
        let defaults: Vec<String> =
            arg.get_default_values().iter().map(|v| format!("`{}`", v.to_string_lossy())).collect();
        if !defaults.is_empty() {
            let _ = write!(text, " Default {}.", defaults.join(", "));
        }
    }
    if let Some(variable) = arg.get_env() {
        let _ = write!(text, " Environment `{}`.", variable.to_string_lossy());
    }
    if arg.is_required_set() {
        text.push_str(" Required.");
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::markdown;

    #[test]
    fn every_verb_has_a_section_and_a_shared_flag_one_row() {
        let text = markdown(crate::cli::Cli::command());
        for title in ["## d2r annotate", "### d2r ingest vindr", "### d2r config schema", "## d2r completions"] {
            assert!(text.lines().any(|l| l == title), "{title} is not in\n{text}");
        }
        assert_eq!(text.matches("| `--lake DIR` |").count(), 1, "{text}");
        assert!(text.contains("Default `lake`. Environment `D2R_LAKE`."), "{text}");
        assert!(!text.contains("cli-reference\n"), "a hidden verb has no section");
    }
}
