//! The table of parameters, written out: as documentation and as a commented recipe file.

use super::builtin::BUILTINS;
use super::table::{PARAMETERS, Recipe, SECTIONS};
use super::value::{Kind, Value};
use std::fmt::Write as _;

impl Recipe {
    /// The recipe as a TOML file that states every parameter, with its help as comments.
    ///
    /// Reading the text gives the same recipe.
    pub fn to_toml(&self) -> String {
        let mut text = format!("name = {}\n", Value::Text(self.name.clone()));
        if !self.description.is_empty() {
            text += &format!("description = {}\n", Value::Text(self.description.clone()));
        }
        for section in SECTIONS {
            text += "\n";
            comment(&mut text, section.help());
            text += &format!("[{}]\n", section.name);
            for parameter in section.parameters() {
                let (value, default) = (parameter.get(self), parameter.default_value());
                comment(&mut text, parameter.help());
                for choice in parameter.kind.choices() {
                    comment(&mut text, &format!("  {}: {}", choice.name, choice.help.trim_start()));
                }
                let allowed = match parameter.kind.inner() {
                    Kind::Choice(_) => String::new(),
                    _ => format!("{}; ", parameter.allowed()),
                };
                comment(&mut text, &format!("({allowed}default {default})"));
                text += &format!("{} = {value}\n", parameter.name);
            }
        }
        text
    }
}

/// Appends `words` as comment lines of at most 100 characters.
fn comment(text: &mut String, words: &str) {
    let indent: String = words.chars().take_while(|letter| *letter == ' ').collect();
    let mut line = String::from("#");
    for (index, word) in words.split_whitespace().enumerate() {
        if index > 0 && line.chars().count() + 1 + word.chars().count() > 100 {
            text.push_str(&line);
            text.push('\n');
            line = format!("#{indent} ");
        } else {
            line.push(' ');
        }
        if index == 0 {
            line.push_str(&indent);
        }
        line.push_str(word);
    }
    text.push_str(&line);
    text.push('\n');
}

/// The page `docs/recipes.md`.
///
/// A test compares the file with this text; run it with `BEAMRAIL_UPDATE_DOCS=1` after changing the table.
pub fn markdown() -> String {
    let mut text = String::from(INTRODUCTION);
    let builtins: Vec<(&str, Recipe)> = BUILTINS
        .iter()
        .filter_map(|builtin| Some((builtin.name, Recipe::builtin(builtin.name).ok()?)))
        .collect();
    text += "## Built-in recipes\n\n| name | what for |\n|---|---|\n";
    for (name, recipe) in &builtins {
        let _ = writeln!(text, "| `{name}` | {} |", recipe.description);
    }
    for (name, recipe) in builtins.iter().skip(1) {
        let _ =
            writeln!(text, "\n`{name}` differs from `default` in:\n\n| parameter | `default` | `{name}` |");
        text += "|---|---|---|\n";
        for parameter in PARAMETERS {
            let (value, default) = (parameter.get(recipe), parameter.default_value());
            if value != default {
                let _ = writeln!(text, "| `{}` | `{default}` | `{value}` |", parameter.key);
            }
        }
    }
    text += "\n## Parameters\n";
    for section in SECTIONS {
        let _ = writeln!(text, "\n### {}\n\n{}\n", section.name, section.help());
        text += "| key | type and range | default | unit | meaning |\n|---|---|---|---|---|\n";
        for parameter in section.parameters() {
            let mut meaning = parameter.help().to_owned();
            let choices = parameter.kind.choices();
            let kind = if choices.is_empty() {
                let limits = parameter.limits.words();
                let words = parameter.kind.words();
                if limits.is_empty() { words } else { format!("{words}; {limits}") }
            } else {
                for choice in choices {
                    let _ = write!(meaning, "<br>`{}`: {}", choice.name, choice.help.trim_start());
                }
                "one of the names at the right".into()
            };
            let _ = writeln!(
                text,
                "| `{}` | {kind} | `{}` | {} | {} |",
                parameter.key,
                parameter.default_value(),
                parameter.unit,
                meaning.replace('|', "\\|")
            );
        }
    }
    text
}

const INTRODUCTION: &str = "\
<!-- Made from the table of parameters. Do not edit: change crates/reconstruct/src/recipe/table.rs and run
     BEAMRAIL_UPDATE_DOCS=1 cargo test --release -p beamrail-reconstruct --test recipe -->

# Recipes

A recipe holds the parameters of a reconstruction. `beamrail reconstruct` takes the name of a built-in
recipe or a TOML file (`--recipe`), and single parameters on top (`--set stripes.sigma=4`). The order of
precedence is: `--set`, the recipe file, the built-in recipe that it names as its `base`, the defaults
below.

A recipe file states only what it changes:

```toml
name = \"fibres\"
description = \"Carbon fibres, propagation contrast\"
base = \"default\"

[phase]
method = \"paganin\"
alpha = 2e-4
```

`beamrail recipes show default` prints a recipe with every parameter and its help; save it and change it.
Unknown keys, values out of range and contradictions are errors that name the key and what is allowed.
`\"auto\"` leaves a parameter to the program. The whole recipe, with what `auto` became, is kept in the
report and in the volume's provenance.

";
