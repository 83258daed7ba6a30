//! `beamrail recipes`: built-in recipes, and every parameter.

use clap::Subcommand;
use reconstruct::recipe::{BUILTINS, Kind, PARAMETERS, Recipe};
use serde_json::{Value, json};

use crate::exit::Failure;
use crate::output::{self, Table};

/// List the built-in recipes, or show one with every parameter
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show a recipe: every parameter with its value, default, unit, range and help
    ///
    /// The output is itself a recipe file: save it, change it, and give it to --recipe.
    Show {
        /// A built-in recipe, or the path of a recipe file
        #[arg(value_name = "NAME|FILE", default_value = "default")]
        recipe: String,

        /// Change a parameter first
        #[arg(long, value_name = "KEY=VALUE")]
        set: Vec<String>,
    },
}

/// Prints the recipes or one of them.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    match &args.command {
        None => list(args.json),
        Some(Command::Show { recipe, set }) => {
            let recipe = Recipe::resolve(recipe, set)?;
            if args.json { output::print_json(&describe(&recipe)) } else { output::print(&recipe.to_toml()) }
        }
    }
}

fn list(as_json: bool) -> Result<(), Failure> {
    let recipes =
        BUILTINS.iter().map(|builtin| Recipe::builtin(builtin.name)).collect::<Result<Vec<_>, _>>()?;
    if as_json {
        let list: Vec<Value> = recipes
            .iter()
            .map(|recipe| json!({ "name": recipe.name, "description": recipe.description }))
            .collect();
        return output::print_json(&list);
    }
    let mut table = Table::default();
    for recipe in &recipes {
        table.row(&recipe.name, &recipe.description);
    }
    output::print(&table.text())
}

/// A recipe for programs, such as a form that edits one.
fn describe(recipe: &Recipe) -> Value {
    let parameters: Vec<Value> = PARAMETERS
        .iter()
        .map(|parameter| {
            let kind = match parameter.kind.inner() {
                Kind::Number => "number",
                Kind::Integer => "integer",
                Kind::Flag => "flag",
                Kind::Choice(_) => "choice",
                Kind::Text(_) => "text",
                Kind::Numbers => "numbers",
                Kind::Pair => "pair",
                Kind::Optional(_) => "optional",
            };
            json!({
                "key": parameter.key,
                "value": parameter.get(recipe),
                "default": parameter.default_value(),
                "type": kind,
                "optional": parameter.kind.is_optional(),
                "choices": parameter.kind.choices(),
                "unit": parameter.unit,
                "limits": parameter.limits,
                "allowed": parameter.allowed(),
                "help": parameter.help(),
            })
        })
        .collect();
    json!({ "name": recipe.name, "description": recipe.description, "parameters": parameters })
}
