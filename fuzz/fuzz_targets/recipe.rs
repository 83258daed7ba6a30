//! Any text is a recipe or an error; a recipe that was read is written and read again unchanged.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reconstruct::recipe::Recipe;

fuzz_target!(|text: &str| {
    let Ok(recipe) = Recipe::parse(text, "fuzz") else { return };
    let written = recipe.to_toml();
    match Recipe::parse(&written, "written") {
        Ok(again) => assert_eq!(again.to_toml(), written),
        Err(error) => panic!("a recipe that was written does not read: {error}\n{written}"),
    }
});
