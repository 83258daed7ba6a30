//! The configuration: what a whole one says, and a hundred that are wrong.

use std::path::Path;

use beamline::config::{Config, Error, FacilityKind, expand};

/// DESIGN's example with everything else that a file may say.
const WHOLE: &str = include_str!("whole.toml");

/// A small right one, to which a mistake is added.
const BASE: &str = "[beamline]\nid = \"8.3.2\"\n[sites.als]\nkind = \"local\"\nroot = \"als\"\nraw = \"raw\"\nscratch = \"scratch\"\n";

fn parse(text: &str) -> Result<Config, Error> {
    Config::parse(text, Path::new("/etc/beamrail/beamrail.toml"))
}

#[test]
fn a_whole_file_is_read() {
    let config = parse(WHOLE).unwrap();
    assert_eq!(config.beamline.id, "8.3.2");
    assert_eq!(config.state, Path::new("/var/lib/beamrail"));
    assert_eq!(config.sites["nersc"].areas["scratch"].retention.to_string(), "7 days");
    assert_eq!(config.sites["nersc"].areas["scratch"].path.as_str(), "scratch");
    assert!(config.sites["nersc"].counted && !config.sites["alcf"].counted);
    assert!(!config.sites["nersc"].digests, "a Globus collection cannot be read for digests");
    assert_eq!(config.facilities["polaris"].kind, FacilityKind::GlobusCompute);
    assert_eq!(config.facilities["polaris"].more["endpoint"], "${GLOBUS_COMPUTE_ENDPOINT}");
    assert_eq!(config.flows["alcf_recon_flow"].return_to, ["nersc", "data832"]);
    assert_eq!(config.flows["alcf_recon_flow"].set["phase.method"], "paganin");
    assert_eq!(config.watch.folders, [Path::new("/data/raw"), Path::new("/etc/beamrail/more")]);
    assert_eq!(config.data_host(), Some("data832"));
    assert!(config.export.folders.contains(&"EC-*".to_owned()));
    let policy = config.policy();
    policy.check().unwrap();
    assert_eq!(
        policy.sites["data832"].areas["raw"].retention.to_string(),
        "14 days after the copy at nersc is verified"
    );
    assert_eq!(config.sites["nersc"].local, None);
    assert!(!config.sites["alcf"].data_access, "a guest collection has no such scope");
    // What this version cannot do is read, and refused where it is used.
    let not_yet = FacilityKind::Sfapi.usable("perlmutter").unwrap_err().to_string();
    assert!(not_yet.contains("sfapi") && not_yet.contains("not in this version"), "{not_yet}");
    assert!(config.facilities["polaris"].kind.usable("polaris").is_ok());
}

#[test]
fn variables_are_replaced_at_use() {
    let lookup = |name: &str| (name == "A").then(|| "1".to_owned());
    assert_eq!(expand("x${A}y${A}", lookup).unwrap(), "x1y1");
    assert_eq!(expand("${B}", lookup).unwrap_err(), "B");
    assert_eq!(expand("${", lookup).unwrap(), "${");
}

#[test]
fn all_mistakes_are_told_at_once_with_their_lines() {
    let text = "[beamline]\nid = 8\n[sites.als]\nkind = \"lokal\"\nroot = \"x\"\nraw = \"../raw\"\n\
                [facilities.here]\nkind = \"local\"\nsite = \"alz\"\n";
    let error = parse(text).unwrap_err().to_string();
    let lines: Vec<&str> = error.lines().collect();
    assert_eq!(lines.len(), 4, "{error}");
    for (line, (number, words)) in
        lines.iter().zip([(2, "beamline.id"), (4, "lokal"), (6, "climbs"), (9, "did you mean als?")])
    {
        assert!(line.starts_with(&format!("/etc/beamrail/beamrail.toml:{number}: ")), "{line}");
        assert!(line.contains(words), "{line}");
    }
}

/// What is added to [`BASE`], and a word of the message that must come.
const WRONG: &[(&str, &str)] = &[
    // Unknown keys and sections, with the right one.
    ("[beamlin]\nid = \"1\"", "did you mean beamline?"),
    ("[site.x]\nroot = \"x\"", "did you mean sites?"),
    ("[facility.x]\nsite = \"als\"", "did you mean facilities?"),
    ("[flow.x]\nsource = \"als\"", "did you mean flows?"),
    ("[zzz]\n", "no such section"),
    ("[sites.b]\nkind = \"local\"\nrot = \"x\"\nraw = \"raw\"", "did you mean root?"),
    ("[sites.b]\nkind = \"local\"\nroot = \"x\"\nrwa = \"raw\"\nscratch = \"s\"", "did you mean raw?"),
    (
        "[sites.b]\nkind = \"local\"\nroot = \"x\"\nraw = \"raw\"\nretension = { raw = \"1 day\" }",
        "did you mean retention?",
    ),
    (
        "[sites.b]\nkind = \"local\"\nroot = \"x\"\nraw = \"raw\"\nretention = { rw = \"1 day\" }",
        "did you mean raw?",
    ),
    ("[sites.b]\nkind = \"local\"\nroot = \"x\"\nraw = \"raw\"\ncount = true", "did you mean counted?"),
    ("[facilities.f]\nkind = \"local\"\nsite = \"als\"\ncomand = \"x\"", "did you mean command?"),
    ("[flows.alcf_recon_flow]\nsource = \"als\"\nfacilty = \"f\"", "did you mean facility?"),
    ("[watch]\nfolder = [\"x\"]", "did you mean folders?"),
    ("[export]\nallowed = [\"als\"]", "did you mean allowed_sites?"),
    ("[custody]\nlvel = \"digested\"", "did you mean level?"),
    ("[schedules.s]\nflow = \"reconcile\"\ncorn = \"0 3 * * *\"", "did you mean cron?"),
    ("[state]\nfoldr = \"x\"", "did you mean folder?"),
    // Missing.
    ("[sites.b]\nroot = \"x\"\nraw = \"raw\"", "kind: is missing"),
    ("[sites.b]\nkind = \"local\"\nraw = \"raw\"", "root: is missing"),
    ("[sites.b]\nkind = \"local\"\nroot = \"x\"", "has no folder"),
    ("[sites.b]\nkind = \"globus\"\nroot = \"/x\"\nraw = \"raw\"", "collection: is missing"),
    ("[facilities.f]\nkind = \"local\"", "site: is missing"),
    ("[facilities.f]\nsite = \"als\"", "kind: is missing"),
    (
        "[flows.alcf_recon_flow]\nfacility = \"f\"\n[facilities.f]\nkind = \"local\"\nsite = \"als\"",
        "source: is missing",
    ),
    ("[flows.alcf_recon_flow]\nsource = \"als\"", "facility: is missing"),
    ("[schedules.s]\ncron = \"0 3 * * *\"", "flow: is missing"),
    ("[schedules.s]\nflow = \"reconcile\"", "needs one of"),
    ("[schedules.s]\nflow = \"reconcile\"\ncron = \"0 3 * * *\"\nevery = \"1 day\"", "needs one of"),
    // Wrong words.
    ("[sites.b]\nkind = \"s3\"\nroot = \"x\"\nraw = \"raw\"", "is not one of local, globus"),
    ("[facilities.f]\nkind = \"lsf\"\nsite = \"als\"", "is not one of local, slurm"),
    ("[flows.alfc_recon]\nsource = \"als\"", "did you mean alcf_recon_flow?"),
    ("[flows.prune_]\n", "there is no flow"),
    ("[flows.new_file]\n", "there is no flow"),
    ("[watch]\nflow = \"dispatch\"", "did you mean dispatcher?"),
    ("[schedules.s]\nflow = \"reconsile\"\nevery = \"1 day\"", "did you mean reconcile?"),
    (
        "[schedules.s]\nflow = \"reconcile\"\nevery = \"1 day\"\ncatch_up = \"some\"",
        "is not one of all, latest, none",
    ),
    ("[custody]\nlevel = \"perfect\"", "give one of listed"),
    ("[custody]\nlevel = \"listed\"", "a name proves nothing"),
    ("[custody]\nnotice = \"1 hour\"", "must be 2 days or more"),
    ("[custody]\nscrub_after = \"0 days\"", "longer than nothing"),
    ("[flows.dispatcher]\nflows = [\"alcf_recon_flw\"]", "did you mean alcf_recon_flow?"),
    ("[flows.dispatcher]\nfail_over = [\"nersc\"]", "there is no flow nersc"),
    (
        "[sites.b]\nkind = \"local\"\nroot = \"x\"\nscratch = \"s\"\nderived = { scratch = \"drop\" }",
        "is not one of keep-one, expire",
    ),
    // References.
    ("[beamline2]\n", "no such section"),
    ("[facilities.f]\nkind = \"local\"\nsite = \"asl\"", "did you mean als?"),
    ("[facilities.f]\nkind = \"local\"\nsite = \"mars\"", "there is no site mars; there are als"),
    ("[flows.alcf_recon_flow]\nsource = \"als\"\nfacility = \"polaris\"", "there is no facility polaris"),
    (
        "[facilities.polaris]\nkind = \"local\"\nsite = \"als\"\n[flows.alcf_recon_flow]\nsource = \"als\"\nfacility = \"polarsi\"",
        "did you mean polaris?",
    ),
    ("[flows.dispatcher]\nsource = \"ALS\"", "did you mean als?"),
    ("[flows.dispatcher]\nreturn_to = [\"als\", \"nercs\"]", "there is no site nercs"),
    ("[flows.new_832_file_flow]\nsend_to = [\"nersc\"]", "there is no site nersc"),
    ("[export]\nallowed_sites = [\"als\", \"nersc\"]", "there is no site nersc"),
    // Retention.
    (
        "[sites.b]\nkind = \"local\"\nroot = \"x\"\nscratch = \"s\"\nretention = { scratch = \"2 fortnights\" }",
        "unit must be",
    ),
    (
        "[sites.b]\nkind = \"local\"\nroot = \"x\"\nscratch = \"s\"\nretention = { scratch = \"soon\" }",
        "whole number",
    ),
    (
        "[sites.b]\nkind = \"local\"\nroot = \"x\"\nscratch = \"s\"\nretention = { scratch = 7 }",
        "must be text",
    ),
    ("[sites.b]\nkind = \"local\"\nroot = \"x\"\nscratch = \"s\"\nretention = \"7 days\"", "is a section"),
    (
        "[sites.b]\nkind = \"local\"\nroot = \"x\"\nscratch = \"s\"\nretention = { raw = \"7 days\" }",
        "the site has no raw",
    ),
    (
        "[sites.b]\nkind = \"local\"\nroot = \"x\"\nscratch = \"s\"\nderived = { raw = \"expire\" }",
        "the site has no raw",
    ),
    (
        "[sites.b]\nkind = \"local\"\nroot = \"x\"\nraw = \"r\"\nretention = { raw = \"7 days after the copy at mars is verified\" }",
        "there is no site mars",
    ),
    (
        "[sites.b]\nkind = \"local\"\nroot = \"x\"\nraw = \"r\"\nretention = { raw = \"7 days after the copy at b is verified\" }",
        "waits for its own copy",
    ),
    (
        "[sites.b]\nkind = \"local\"\nroot = \"x\"\nraw = \"r\"\nretention = { raw = \"7 days after nersc\" }",
        "write \"never\"",
    ),
    // Paths.
    ("[sites.b]\nkind = \"local\"\nroot = \"../x\"\nraw = \"raw\"", "must not climb"),
    ("[sites.b]\nkind = \"local\"\nroot = \"x\"\nraw = \"/raw\"", "it is absolute"),
    ("[sites.b]\nkind = \"local\"\nroot = \"x\"\nraw = \"a/../../raw\"", "climbs out"),
    ("[sites.b]\nkind = \"local\"\nroot = \"x\"\nraw = \"a//b\"", "empty part"),
    ("[sites.b]\nkind = \"local\"\nroot = \"x\"\nraw = \"same\"\nscratch = \"same\"", "keep them apart"),
    (
        "[sites.b]\nkind = \"local\"\nroot = \"x\"\nraw = \"raw\"\nscratch = \"raw/scratch\"",
        "keep them apart",
    ),
    ("[sites.b]\nkind = \"globus\"\ncollection = \"u\"\nroot = \"x\"\nraw = \"raw\"", "must begin with"),
    ("[state]\nfolder = \"../state\"", "must not climb"),
    ("[watch]\nfolders = [\"../raw\"]", "must not climb"),
    ("[facilities.f]\nkind = \"local\"\nsite = \"als\"\nsite_root = \"../x\"", "must not climb"),
    ("[sites.b]\nkind = \"local\"\nroot = \"a\\u0000b\"\nraw = \"raw\"", "NUL"),
    // Names.
    ("[sites.\"a b\"]\nkind = \"local\"\nroot = \"x\"\nraw = \"raw\"", "names are made of letters"),
    ("[sites.\"../x\"]\nkind = \"local\"\nroot = \"x\"\nraw = \"raw\"", "names are made of letters"),
    ("[sites.\"\"]\nkind = \"local\"\nroot = \"x\"\nraw = \"raw\"", "names are made of letters"),
    ("[sites.\".x\"]\nkind = \"local\"\nroot = \"x\"\nraw = \"raw\"", "names are made of letters"),
    ("[facilities.\"a;rm\"]\nkind = \"local\"\nsite = \"als\"", "names are made of letters"),
    // Types.
    ("[sites]\nb = \"local\"", "must be a section"),
    ("[sites.b]\nkind = 1\nroot = \"x\"\nraw = \"raw\"", "must be text"),
    ("[sites.b]\nkind = \"local\"\nroot = [\"x\"]\nraw = \"raw\"", "must be text"),
    ("[sites.b]\nkind = \"local\"\nroot = \"\"\nraw = \"raw\"", "is empty"),
    ("[sites.b]\nkind = \"local\"\nroot = \"x\"\nraw = \"raw\"\ncounted = \"yes\"", "must be true or false"),
    ("[facilities.f]\nkind = \"local\"\nsite = \"als\"\nslots = 0", "1 or more"),
    ("[facilities.f]\nkind = \"local\"\nsite = \"als\"\nslots = -3", "1 or more"),
    ("[facilities.f]\nkind = \"local\"\nsite = \"als\"\nthreads = 1.5", "whole number"),
    ("[facilities.f]\nkind = \"local\"\nsite = \"als\"\nthreads = 99999999999", "whole number"),
    ("[facilities.f]\nkind = \"local\"\nsite = \"als\"\nmemory = \"lots\"", "is no size"),
    ("[facilities.f]\nkind = \"local\"\nsite = \"als\"\nmemory = \"-1 GiB\"", "is no size"),
    ("[facilities.f]\nkind = \"local\"\nsite = \"als\"\nwalltime = \"an hour\"", "whole number"),
    ("[facilities.f]\nkind = \"local\"\nsite = \"als\"\nendpoint = \"x\"", "no such key"),
    ("[flows.alcf_recon_flow]\nreturn_to = { a = 1 }", "must be a list of texts"),
    ("[flows.alcf_recon_flow]\nreturn_to = [1]", "must be a list of texts"),
    ("[flows.alcf_recon_flow]\nwrite = [\"png\"]", "cannot be written"),
    ("[facilities.f]\nkind = \"local\"\nsite = \"als\"\njobs = \"/tmp/jobs\"", "it is absolute"),
    ("[flows.prune_old]\nsource = \"als\"", "area: is missing"),
    ("[flows.prune_old]\nsource = \"als\"\narea = \"attic\"", "is not one of raw, scratch"),
    ("[flows.alcf_recon_flow]\nset = \"a=b\"", "must be a table"),
    ("[flows.alcf_recon_flow]\nset = { a = [1] }", "must be a text, number or flag"),
    ("[flows.alcf_recon_flow]\nretries = -1", "0 or more"),
    ("[watch]\npoll = \"0 s\"", "one second or more"),
    ("[watch]\nquiet = \"-1 s\"", "whole number"),
    ("[schedules.s]\nflow = \"reconcile\"\ncron = \"every night\"", "is no time"),
    ("[schedules.s]\nflow = \"reconcile\"\ncron = \"61 3 * * *\"", "is no time"),
    ("[schedules.s]\nflow = \"reconcile\"\nevery = \"0 s\"", "one second or more"),
    ("[export]\ndefault = \"no\"", "must be true or false"),
    ("[export]\nfolders = [\"\"]", "cannot be used"),
    // Secrets and variables.
    ("[globus]\nclient_secret = \"hunter2\"", "GLOBUS_CLIENT_SECRET"),
    (
        "[facilities.f]\nkind = \"local\"\nsite = \"als\"\nclient_secret = \"hunter2\"",
        "GLOBUS_COMPUTE_CLIENT_SECRET",
    ),
    ("[scicat]\npassword = \"hunter2\"", "SCICAT_INGEST_PASSWORD"),
    ("[prefect]\napi-key = \"hunter2\"", "PREFECT_API_KEY"),
    ("[sites.b]\nkind = \"local\"\nroot = \"x\"\nraw = \"raw\"\nToken = \"hunter2\"", "do not belong"),
    ("[facilities.f]\nkind = \"sfapi\"\nsite = \"als\"\nprivate_key = \"hunter2\"", "PATH_NERSC_PRI_KEY"),
    ("[facilities.f]\nkind = \"iri\"\nsite = \"als\"\napi = \"https://u:hunter2@x.org/\"", "password"),
    (
        "[sites.b]\nkind = \"local\"\nroot = \"${HOME}/x\"\nraw = \"raw\"",
        "is replaced in endpoint, collection, function, flow only",
    ),
    ("[watch]\nfolders = [\"${HOME}\"]", "cannot be used"),
    // No TOML.
    ("[sites.als]\nkind = \"local\"", "TOML"),
    ("x = ", "TOML"),
    ("client_secret = hunter2", "TOML"),
    ("[", "TOML"),
    ("a = \"\\q\"", "TOML"),
];

#[test]
fn a_hundred_wrong_files_are_explained() {
    parse(BASE).unwrap();
    assert!(WRONG.len() >= 100, "{}", WRONG.len());
    let mut wrong = Vec::new();
    for (added, words) in WRONG {
        let text = format!("{BASE}{added}\n");
        let error = parse(&text).err().map_or("accepted".to_owned(), |error| error.to_string());
        let told = error.starts_with("/etc/beamrail/beamrail.toml") && !error.contains("hunter2");
        if !error.contains(words) || !told {
            wrong.push(format!("{added}\n  gave: {error}\n  without: {words}"));
        }
    }
    // All at once: the first miss must not hide the others.
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for (text, words) in [
        ("", "beamline: is missing"),
        ("[beamline]\n", "beamline.id: is missing"),
        ("beamline = 1", "is a section"),
        ("[beamline]\nid = \"x\"\ntime_zone = \"Mars/Olympus\"", "there is no time zone"),
        ("[beamline]\nid = \"x\"\ndata_host = \"als\"", "nor any other"),
        ("[beamline]\nid = \"x\"\nname = \"y\"", "no such key"),
    ] {
        let error = parse(text).unwrap_err().to_string();
        assert!(error.contains(words), "{text}\n  gave: {error}");
    }
}

#[test]
fn no_text_makes_it_panic() {
    // Every prefix of a whole file, and every line of it left out or doubled.
    for end in (0..WHOLE.len()).filter(|end| WHOLE.is_char_boundary(*end)).step_by(7) {
        let _ = parse(&WHOLE[..end]);
    }
    let lines: Vec<&str> = WHOLE.lines().collect();
    for skip in 0..lines.len() {
        let mut fewer = lines.clone();
        fewer.remove(skip);
        let _ = parse(&fewer.join("\n"));
        let mut twice = lines.clone();
        twice.insert(skip, lines[skip]);
        let _ = parse(&twice.join("\n"));
    }
}

#[test]
fn a_named_file_is_not_looked_for_elsewhere() {
    let error = Config::load(Some(Path::new("/nowhere/beamrail.toml"))).unwrap_err().to_string();
    assert!(error.starts_with("/nowhere/beamrail.toml: cannot read"), "{error}");
}
