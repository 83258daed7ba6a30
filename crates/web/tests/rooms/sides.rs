//! Two reconstructions side by side with their recipes' differences.

use custody::{Kind, RelPath};
use reconstruct::job::{Action, Existing, JobOptions, execute};
use reconstruct::plan::{OmeZarr, Write};
use reconstruct::{Recipe, Silent, Stop};

use crate::desk::{Desk, FOLDER, STEM};

/// A volume on the disk, in custody, with the report of its run.
pub fn volume(desk: &Desk, base: &str, recipe: &Recipe, run: &str, size: u64) -> i64 {
    let output = desk.folder.join("data").join(base);
    let options = JobOptions {
        scan: desk.folder.join("data/raw").join(FOLDER).join(format!("{STEM}.h5")),
        open: Default::default(),
        output,
        recipe: recipe.clone(),
        rows: None,
        write: Write { tiff: false, zarr: true, ome_zarr: OmeZarr::V04 },
        memory: Some(1 << 30),
        threads: Some(1),
        existing: Existing::Refuse,
    };
    execute(&options, Action::Run, &Silent, &Stop::new()).unwrap();
    desk.report(run, recipe, recipe.center.value.unwrap());
    let file = format!("rec{STEM}.zarr/0/.zarray");
    let base = RelPath::new(base).unwrap();
    desk.copy_in(STEM, "data", "scratch", base, Kind::Zarr, &[(&file, size)], run).0
}

#[test]
fn both_are_shown_with_what_differs() {
    let desk = Desk::open();
    desk.raw();
    let mut recipe = Recipe::default();
    recipe.apply(&["center.method=fixed".into(), "center.value=46".into()]).unwrap();
    let run = "018f0000-0000-7000-8000-000000000001";
    let aside = volume(&desk, &format!("scratch/{FOLDER}/replaced/1"), &recipe, run, 1);
    let anna = desk.anna();
    let alone = anna.get("/compare/ALS-1_user/foam").text();
    assert!(alone.contains("There is one reconstruction") && alone.contains("set aside"), "{alone}");
    recipe.apply(&["center.value=49.25".into(), "stripes.sigma=4".into()]).unwrap();
    let now = volume(&desk, &format!("scratch/{FOLDER}"), &recipe, "018f0000-0000-7000-8000-000000000002", 2);
    let page = anna.get("/compare/ALS-1_user/foam").text();
    assert!(
        page.find(&format!("/pictures/copy/{now}?")) < page.find(&format!("/pictures/copy/{aside}?")),
        "newest first: {page}"
    );
    for (key, one, other) in [("center.value", "49.25", "46.0"), ("stripes.sigma", "4.0", "3.0")] {
        let row = page.split(&format!("<code>{key}</code>")).nth(1).unwrap().split("</tr>").next().unwrap();
        assert!(row.contains(&format!("<td>{one}</td><td>{other}</td>")), "{row}");
    }
    assert_eq!(page.matches("<tr>").count(), 3, "only what differs: {page}");
    let picture = |copy: i64, like: i64| anna.get(&format!("/pictures/copy/{copy}?like={like}"));
    let (one, other) = (picture(now, now), picture(aside, now));
    assert!(one.body.starts_with(b"\x89PNG") && other.body.starts_with(b"\x89PNG") && one.body != other.body);
    let swapped = anna.get(&format!("/compare/ALS-1_user/foam?a={aside}&b={now}")).text();
    assert!(swapped.contains("<td>46.0</td><td>49.25</td>"), "{swapped}");
    for (path, status) in [
        ("/compare/ALS-1_user/foam?a=99", 404),
        ("/compare/ALS-1_user/foam?a=x", 400),
        ("/compare/ALS-1_user/none", 404),
        ("/pictures/copy/1", 404),
        ("/pictures/copy/99", 404),
        ("/pictures/copy/x", 400),
    ] {
        assert_eq!(anna.get(path).status, status, "{path}");
    }
}
