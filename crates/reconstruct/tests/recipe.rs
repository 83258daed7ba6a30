//! Recipes: the table of parameters, recipe files, `--set`, contradictions, built-ins, documentation.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

use reconstruct::recipe::{
    BUILTINS, CenterMethod, Decision, FilterName, FlatMethod, GridrecMode, Kind, OutputType, PARAMETERS,
    PaddingMethod, Recipe, Region, SECTIONS, StripeMethod, Value, Wavelet, markdown,
};

/// The message of the error that `text` must give.
fn refused(text: &str) -> String {
    match Recipe::parse(text, "test.toml") {
        Ok(_) => panic!("accepted: {text}"),
        Err(error) => error.to_string(),
    }
}

/// The message of the error that `settings` on top of `default` must give.
fn refused_settings(settings: &[&str]) -> String {
    let settings: Vec<String> = settings.iter().map(|setting| (*setting).to_owned()).collect();
    match Recipe::resolve("default", &settings) {
        Ok(_) => panic!("accepted: {settings:?}"),
        Err(error) => error.to_string(),
    }
}

fn with(settings: &[&str]) -> Recipe {
    let settings: Vec<String> = settings.iter().map(|setting| (*setting).to_owned()).collect();
    Recipe::resolve("default", &settings).unwrap()
}

#[track_caller]
fn mentions(message: &str, words: &[&str]) {
    for word in words {
        assert!(message.contains(word), "'{word}' is not in: {message}");
    }
}

#[test]
fn every_parameter_is_complete_and_its_default_is_allowed() {
    let mut keys = std::collections::BTreeSet::new();
    for parameter in PARAMETERS {
        assert!(keys.insert(parameter.key), "{} twice", parameter.key);
        assert_eq!(parameter.key, format!("{}.{}", parameter.section, parameter.name));
        assert!(parameter.help().ends_with('.'), "{}: help is a sentence", parameter.key);
        assert!(!parameter.help().contains("  "), "{}: double space in help", parameter.key);
        let mut recipe = Recipe::default();
        let value = parameter.get(&recipe);
        parameter.set(&mut recipe, &value).unwrap();
        assert_eq!(recipe, Recipe::default());
        for choice in parameter.kind.choices() {
            parameter.set(&mut recipe, &Value::Text(choice.name.into())).unwrap();
            assert_eq!(parameter.get(&recipe), Value::Text(choice.name.into()));
        }
    }
    for section in SECTIONS {
        assert!(section.parameters().count() > 0 && section.help().ends_with('.'), "{}", section.name);
    }
}

#[test]
fn the_table_and_the_struct_hold_the_same_parameters() {
    let json = serde_json::to_value(Recipe::default()).unwrap();
    let mut fields = 0;
    for (section, fields_of_section) in json.as_object().unwrap() {
        let Some(names) = fields_of_section.as_object() else { continue };
        for (name, value) in names {
            let key = format!("{section}.{name}");
            let parameter = PARAMETERS.iter().find(|parameter| parameter.key == key).unwrap();
            assert_eq!(&serde_json::to_value(parameter.default_value()).unwrap(), value, "{key}");
            fields += 1;
        }
    }
    assert_eq!(fields, PARAMETERS.len());
}

#[test]
fn a_recipe_survives_json_and_toml() {
    let mut recipe = with(&[
        "center.method=fixed",
        "center.value=1279.1234567890123",
        "flat.method=region",
        "flat.region=0:10,5:50",
        "phase.distance_mm=0.1",
        "beam_hardening.coefficients=0, 1, 1e-17",
        "lens.center=[-3.5, 7]",
    ]);
    recipe.description = "a \"quoted\" \\ name\nwith two lines and µ".into();
    let json = serde_json::to_string(&recipe).unwrap();
    assert_eq!(serde_json::from_str::<Recipe>(&json).unwrap(), recipe);
    assert_eq!(Recipe::parse(&recipe.to_toml(), "x.toml").unwrap(), recipe);
    // A plan written by another version must not be half understood.
    let unknown = json.replacen("\"sigma\"", "\"sigmoid\"", 1);
    assert!(serde_json::from_str::<Recipe>(&unknown).is_err());
}

#[test]
fn als832_has_the_numbers_of_the_production_script() {
    let recipe = Recipe::builtin("als832").unwrap();
    recipe.validate().unwrap();
    assert_eq!(recipe.name, "als832");
    assert_eq!(recipe.flat.method, FlatMethod::Mean);
    assert_eq!(recipe.transmission.minimum, 0.01);
    let stripes = &recipe.stripes;
    assert_eq!(stripes.method, StripeMethod::FourierWavelet);
    assert_eq!((stripes.sigma, stripes.level, stripes.pad), (3.0, 8, true));
    assert_eq!(stripes.wavelet, Wavelet { order: 5 });
    let gridrec = &recipe.gridrec;
    assert_eq!((gridrec.mode, gridrec.filter), (GridrecMode::Tomopy, FilterName::Butterworth));
    assert_eq!((gridrec.cutoff, gridrec.order), (0.25, 2.0));
    assert_eq!(gridrec.padding, PaddingMethod::Edge);
    assert_eq!(recipe.center.method, CenterMethod::Production);
    assert!(recipe.center.accept_unbelieved);
    assert_eq!((recipe.mask.enabled, recipe.mask.ratio), (true, 1.0));
    assert_eq!(recipe.geometry.half_acquisition, Decision::No);
    assert_eq!(recipe.output.dtype, OutputType::Float32);
    // int(ceil(ncols * sqrt(2)) - ncols) // 2 in the script.
    for (columns, padding) in [(2560, 530), (512, 106), (640, 133), (1, 0), (2, 0), (0, 0)] {
        assert_eq!(gridrec.padding_columns(columns), padding, "{columns} columns");
    }
}

#[test]
fn default_is_quantitative_and_does_not_believe_everything() {
    let recipe = Recipe::builtin("default").unwrap();
    recipe.validate().unwrap();
    assert_eq!(recipe.gridrec.mode, GridrecMode::Exact);
    assert_eq!(recipe.flat.method, FlatMethod::Interpolated);
    assert_eq!(recipe.center.method, CenterMethod::Auto);
    assert!(!recipe.center.accept_unbelieved);
    // The file must not quietly differ from the table.
    assert_eq!(Recipe { description: String::new(), ..recipe }, Recipe::default());
}

#[test]
fn built_in_files_are_valid_and_say_what_they_are() {
    for builtin in BUILTINS {
        let recipe = Recipe::parse(builtin.text, builtin.name).unwrap();
        assert_eq!(recipe.name, builtin.name);
        assert!(!recipe.description.is_empty());
    }
}

#[test]
fn a_file_changes_its_base() {
    let text = "base = \"als832\"\n[stripes]\nsigma = 4\n";
    let recipe = Recipe::parse(text, "dir/fibres.toml").unwrap();
    assert_eq!(recipe.name, "fibres");
    assert_eq!(recipe.description, "");
    assert_eq!(recipe.stripes.sigma, 4.0);
    assert_eq!(recipe.gridrec.mode, GridrecMode::Tomopy);
    let plain = Recipe::parse("[stripes]\nsigma = 4", "x").unwrap();
    assert_eq!(plain.gridrec.mode, GridrecMode::Exact);
    assert_eq!(plain.changes(), [("stripes.sigma", Value::Number(4.0))]);
}

#[test]
fn files_may_write_natural_forms() {
    let text = "[geometry]\nrange = 360\nhalf_acquisition = true\npixel_size_um = \"auto\"\n\
                [binning]\nfactor = 0x2\n[beam_hardening]\ncoefficients = [0, 1.5, 2]\n\
                [center]\nsearch = [10, 20.5]\n";
    let recipe = Recipe::parse(text, "x").unwrap();
    assert_eq!(recipe.geometry.range.name(), "360");
    assert_eq!(recipe.geometry.half_acquisition, Decision::Yes);
    assert_eq!(recipe.geometry.pixel_size_um, None);
    assert_eq!(recipe.binning.factor, 2);
    assert_eq!(recipe.beam_hardening.coefficients, [0.0, 1.5, 2.0]);
    assert_eq!(recipe.center.search, Some((10.0, 20.5)));
}

#[test]
fn unknown_keys_name_the_line_and_the_nearest_key() {
    mentions(&refused("[stripes]\nsigmaa = 3\n"), &["stripes.sigmaa", "line 2", "stripes.sigma?"]);
    mentions(&refused("\n[stripe]\nsigma = 3\n"), &["stripe", "line 2", "[stripes]"]);
    mentions(&refused("sigma = 3\n"), &["sigma", "line 1", "[stripes]"]);
    mentions(&refused("[gridrec]\nsigma = 3\n"), &["gridrec.sigma", "stripes.sigma?"]);
    mentions(&refused("[mask]\nxyzzy = 3\n"), &["mask.xyzzy", "enabled, ratio"]);
    mentions(&refused("[qqqq]\na = 1\n"), &["qqqq", "geometry", "zarr"]);
    mentions(&refused("stripes = 3\n"), &["stripes", "[stripes]"]);
    mentions(&refused("[[stripes]]\nsigma = 3\n"), &["stripes", "[stripes]"]);
    mentions(&refused("nmae = \"x\"\n"), &["nmae", "name, description, base"]);
    mentions(&refused("name = 3\n"), &["name", "text"]);
    mentions(&refused("base = \"als823\"\n"), &["als823", "did you mean \"als832\"?"]);
    mentions(&refused("base = 1\n"), &["base", "built-in"]);
    mentions(&refused_settings(&["stripes.sigme=3"]), &["stripes.sigme", "--set", "stripes.sigma?"]);
    mentions(&refused_settings(&["sigma=3"]), &["stripes.sigma?"]);
    mentions(&refused_settings(&["sigma"]), &["--set key=value"]);
    mentions(&refused_settings(&["=3"]), &["no such parameter"]);
}

#[test]
fn wrong_types_and_ranges_say_what_is_allowed() {
    let cases: &[(&str, &[&str])] = &[
        ("[stripes]\nmethod = \"titarenk\"", &["stripes.method", "fourier-wavelet", "\"titarenko\"?"]),
        ("[stripes]\nmethod = 3", &["stripes.method", "one of none, fourier-wavelet"]),
        ("[stripes]\nsigma = \"3\"", &["stripes.sigma", "a number"]),
        ("[stripes]\nsigma = 0", &["stripes.sigma", "greater than 0"]),
        ("[stripes]\nsigma = nan", &["stripes.sigma", "out of range"]),
        ("[stripes]\nsigma = inf", &["stripes.sigma", "out of range"]),
        ("[stripes]\nlevel = 2.5", &["stripes.level", "whole number"]),
        ("[stripes]\nlevel = -1", &["stripes.level", "1 to 16"]),
        ("[stripes]\nlevel = 99999999999999999999", &["stripes.level", "whole number"]),
        ("[stripes]\nwavelet = \"db21\"", &["stripes.wavelet", "db1 to db20"]),
        ("[stripes]\nwavelet = \"sym4\"", &["stripes.wavelet", "db1 to db20"]),
        ("[stripes]\npad = 1", &["stripes.pad", "true or false"]),
        ("[transmission]\nminimum = 0", &["transmission.minimum", "0.000001 to 0.999"]),
        ("[outliers]\nsize = 4", &["outliers.size", "odd"]),
        ("[binning]\nfactor = 3", &["binning.factor", "1, 2, 4"]),
        ("[geometry]\nrange = 270", &["geometry.range", "auto, 180, 360"]),
        ("[geometry]\npixel_size_um = 0", &["geometry.pixel_size_um", "or auto", "µm"]),
        ("[center]\nsearch = [1, 2, 3]", &["center.search", "two numbers"]),
        ("[center]\nsearch = [1, \"2\"]", &["center.search", "two numbers"]),
        ("[center]\nminimum_confidence = 1.1", &["center.minimum_confidence", "0 to 1"]),
        ("[flat]\nregion = \"1:2\"", &["flat.region", "r0:r1,c0:c1"]),
        ("[flat]\nregion = \"5:5,1:2\"", &["flat.region", "r0:r1,c0:c1"]),
        ("[beam_hardening]\ncoefficients = [0, inf]", &["beam_hardening.coefficients"]),
        ("[beam_hardening]\ncoefficients = 1979-05-27", &["beam_hardening.coefficients", "list"]),
        ("[zarr]\nlevel = 10", &["zarr.level", "1 to 9"]),
    ];
    for (text, words) in cases {
        mentions(&refused(text), words);
    }
    mentions(&refused_settings(&["stripes.sigma=three"]), &["stripes.sigma", "'three'", "a number"]);
    mentions(&refused_settings(&["stripes.pad=maybe"]), &["true or false"]);
    mentions(&refused_settings(&["stripes.level=auto"]), &["stripes.level", "whole number"]);
    mentions(&refused_settings(&["center.search=1,,2"]), &["center.search", "two numbers"]);
}

#[test]
fn lists_have_a_longest_length() {
    let long = vec!["1"; 65].join(",");
    mentions(&refused_settings(&[&format!("beam_hardening.coefficients={long}")]), &["list of numbers"]);
}

#[test]
fn contradictions_are_refused() {
    let cases: &[(&[&str], &[&str])] = &[
        (&["geometry.half_acquisition=yes", "geometry.range=180"], &["geometry.half_acquisition", "360"]),
        (&["center.method=overlap", "geometry.range=180"], &["center.method", "overlap"]),
        (&["center.method=fixed"], &["center.value", "is missing"]),
        (&["center.value=12"], &["center.value", "fixed"]),
        (&["center.search=20,10"], &["center.search", "smaller first"]),
        (&["center.search=1,20", "center.method=production"], &["center.search"]),
        (&["flat.method=region"], &["flat.region", "is missing"]),
        (&["flat.region=0:1,0:1"], &["flat.region", "region"]),
        (&["lens.enabled=true", "lens.factors=[]"], &["lens.factors", "empty"]),
        (&["gridrec.padding=none", "gridrec.pad_columns=5"], &["gridrec.pad_columns"]),
        (&["rings.method=polar", "rings.minimum=5", "rings.maximum=5"], &["rings.minimum"]),
        (&["output.dtype=uint16", "output.scale_min=0"], &["output.scale_max", "missing"]),
        (&["output.scale_max=0"], &["output.scale_min", "missing"]),
        (&["output.scale_min=3", "output.scale_max=3"], &["output.scale_min", "smaller"]),
    ];
    for (settings, words) in cases {
        mentions(&refused_settings(settings), words);
    }
    // The same, put right.
    let recipe = with(&["center.method=fixed", "center.value=12.5"]);
    assert_eq!(recipe.center.value, Some(12.5));
    let recipe = with(&["flat.method=region", "flat.region=0:2160, 0:50"]);
    assert_eq!(recipe.flat.region, Some(Region { rows: (0, 2160), columns: (0, 50) }));
    with(&["output.dtype=uint16"]);
    with(&["output.dtype=uint8", "output.scale_min=-10", "output.scale_max=30"]);
    with(&["gridrec.padding=none", "gridrec.pad_columns=auto"]);
    with(&["geometry.half_acquisition=yes"]);
}

#[test]
fn all_mistakes_are_reported_together() {
    let text = "[stripes]\nsigma = -1\nlevel = \"x\"\n[maks]\nratio = 1\n";
    let error = Recipe::parse(text, "x").unwrap_err();
    let places: Vec<&str> = error.problems().iter().map(|problem| problem.place.as_str()).collect();
    assert_eq!(error.problems().len(), 3, "{error}");
    for line in ["line 2", "line 3", "line 4"] {
        assert!(places.contains(&line), "{places:?}");
    }
}

#[test]
fn settings_are_applied_all_or_none() {
    let mut recipe = Recipe::default();
    let settings = ["stripes.sigma=4".to_owned(), "stripes.level=0".to_owned()];
    assert!(recipe.apply(&settings).is_err());
    assert_eq!(recipe, Recipe::default());
    recipe.apply(&settings[..1]).unwrap();
    assert_eq!(recipe.stripes.sigma, 4.0);
    // The last of two settings of one key counts, as flags do.
    recipe.apply(&["stripes.sigma=5".into(), " stripes.sigma = 6 ".into()]).unwrap();
    assert_eq!(recipe.stripes.sigma, 6.0);
}

#[test]
fn fields_set_from_code_are_checked_too() {
    let mut recipe = Recipe::default();
    recipe.stripes.sigma = f64::NAN;
    recipe.beam_hardening.coefficients = vec![0.0; 1000];
    let error = recipe.validate().unwrap_err();
    mentions(&error.to_string(), &["stripes.sigma", "beam_hardening.coefficients"]);
}

#[test]
fn names_and_paths() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mine.toml");
    std::fs::write(&path, "[center]\nmethod = \"fixed\"\n").unwrap();
    let path = path.to_str().unwrap();
    // The file alone contradicts itself; a setting completes it.
    mentions(&Recipe::resolve(path, &[]).unwrap_err().to_string(), &["center.value", "mine.toml"]);
    assert_eq!(Recipe::resolve(path, &["center.value=3".into()]).unwrap().name, "mine");
    mentions(&Recipe::resolve("als_832", &[]).unwrap_err().to_string(), &["als832", "default"]);
    mentions(&Recipe::resolve("", &[]).unwrap_err().to_string(), &["no recipe"]);
    mentions(&Recipe::resolve("absent.toml", &[]).unwrap_err().to_string(), &["cannot read", "absent.toml"]);
    let folder = folder.path().to_str().unwrap();
    mentions(&Recipe::resolve(folder, &[]).unwrap_err().to_string(), &["cannot read"]);
}

#[test]
fn what_is_not_toml_is_refused_with_its_place() {
    mentions(&refused("[stripes\nsigma = 3"), &["test.toml", "not valid TOML", "line 1"]);
    mentions(&refused("[stripes]\nsigma = 3\nsigma = 4\n"), &["not valid TOML", "line 3"]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bytes.toml");
    std::fs::write(&path, [0xff, 0xfe, 0x00]).unwrap();
    mentions(&Recipe::resolve(path.to_str().unwrap(), &[]).unwrap_err().to_string(), &["cannot read"]);
}

/// Text made of fragments of recipes, broken at random: errors, never a panic.
#[test]
fn broken_text_never_panics() {
    let fragments = [
        "[",
        "]",
        "=",
        "\n",
        "\"",
        "stripes",
        "center",
        "sigma",
        "1e999",
        "-0",
        "nan",
        "'",
        "[[",
        "{",
        "}",
        ".",
        "method",
        "\u{0}",
        "µ",
        "0x",
        "base",
        "default",
        ",",
        "9223372036854775808",
        "flat.region",
        ":",
    ];
    // A linear congruential generator (Knuth, MMIX) is random enough here.
    let mut state = 1_u64;
    let mut next = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize
    };
    for _ in 0..20_000 {
        let text: String = (0..next() % 12).map(|_| fragments[next() % fragments.len()]).collect();
        let _ = Recipe::parse(&text, "x");
        let _ = Recipe::default().apply(&[text]);
    }
}

#[test]
fn every_kind_reads_what_it_prints() {
    for parameter in PARAMETERS {
        let default = parameter.default_value();
        assert_eq!(parameter.kind.read_text(&default.to_string()), Some(default), "{}", parameter.key);
    }
    assert_eq!(Kind::Numbers.read_text(" [ ] "), Some(Value::Numbers(Vec::new())));
    assert_eq!(Kind::Pair.read_text("1,2"), Some(Value::Numbers(vec![1.0, 2.0])));
}

/// `docs/recipes.md` is made from the table; `BEAMRAIL_UPDATE_DOCS=1` rewrites it.
#[test]
fn the_documentation_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/recipes.md");
    let text = markdown();
    if std::env::var_os("BEAMRAIL_UPDATE_DOCS").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    let found = std::fs::read_to_string(path).unwrap();
    assert!(found == text, "docs/recipes.md is stale: run this test with BEAMRAIL_UPDATE_DOCS=1");
}
