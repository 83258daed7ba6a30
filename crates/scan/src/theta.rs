//! Rotation angles: from what the file has to one usable angle per projection.

use crate::{ThetaSource, Warning};

/// What a file knows about its angles.
#[derive(Debug, Default, Clone)]
pub(crate) struct Raw {
    /// Stored angles with where they came from.
    pub(crate) stored: Option<(Vec<f64>, ThetaSource)>,
    /// Path or attribute of the stored angles, for messages.
    pub(crate) name: String,
    /// Unit as the file says.
    pub(crate) unit: Option<String>,
    /// First angle, degrees.
    pub(crate) start: Option<f64>,
    /// Step, degrees.
    pub(crate) step: Option<f64>,
    /// Range, degrees.
    pub(crate) range: Option<f64>,
    /// Number of angles by the metadata.
    pub(crate) count: Option<usize>,
    /// Flats and darks in the file: stored angles may include theirs.
    pub(crate) other_frames: usize,
    /// What the caller says the range is.
    pub(crate) caller_range: Option<f64>,
}

/// One angle in degrees for each of `projections`; the error is a reason.
pub(crate) fn resolve(
    raw: &Raw,
    projections: usize,
    warnings: &mut Vec<Warning>,
) -> Result<(Vec<f64>, ThetaSource), String> {
    let mut warn = |code: &'static str, message: String| warnings.push(Warning { code, message });
    let Some((stored, source)) = &raw.stored else {
        return without_angles(raw, projections, &mut warn);
    };
    let name = &raw.name;
    let mut theta = stored.clone();
    if theta.len() < projections {
        return Err(format!(
            "{name} holds {} angles for {projections} projections; give the range to use equal steps instead",
            theta.len()
        ));
    }
    if theta.len() > projections {
        // Seen in real files: angles of flats and darks at the end, a closing angle, or an aborted scan
        // whose angles were planned.
        let planned = raw.count == Some(theta.len());
        let spare = theta.len() - projections;
        if !planned && spare > raw.other_frames + 2 {
            return Err(format!(
                "{name} holds {} angles for {projections} projections; give the range to use equal steps instead",
                theta.len()
            ));
        }
        warn(
            "theta-longer",
            format!(
                "{name} holds {} angles for {projections} projections; the first {projections} are used",
                theta.len()
            ),
        );
        theta.truncate(projections);
    }
    if let Some(i) = theta.iter().position(|t| !t.is_finite() || t.abs() > 1e6) {
        return Err(format!("{name}[{i}] is {}; repair the file or give the range", theta[i]));
    }
    let span = span_of(&theta);
    if span <= 0.0 {
        return Err(format!("all angles in {name} are {}; repair the file or give the range", theta[0]));
    }
    if in_radians(span, projections, raw) {
        theta.iter_mut().for_each(|t| *t = t.to_degrees());
        warn(
            "theta-radians",
            format!("{name} spans {span:.4}: taken as radians ({:.2} degrees)", span.to_degrees()),
        );
    }
    let span = span_of(&theta);
    let rising = theta.windows(2).filter(|w| w[1] > w[0]).count();
    let falling = theta.windows(2).filter(|w| w[1] < w[0]).count();
    if rising > 0 && falling > 0 {
        warn(
            "theta-not-monotonic",
            format!("{name} goes back {} times; each projection keeps its stored angle", rising.min(falling)),
        );
    } else if rising + falling + 1 < projections {
        warn(
            "theta-repeats",
            format!(
                "{name} repeats an angle {} times; each projection keeps its stored angle",
                projections - 1 - rising - falling
            ),
        );
    }
    if let Some(range) = raw.range.filter(|r| r.is_finite() && *r > 0.0)
        && (range - span).abs() > 0.05 * range + span / projections as f64
    {
        warn(
            "range-differs",
            format!(
                "the metadata give a range of {range} degrees, the angles span {span:.3}; the angles are used"
            ),
        );
    }
    Ok((theta, *source))
}

fn without_angles(
    raw: &Raw,
    projections: usize,
    warn: &mut dyn FnMut(&'static str, String),
) -> Result<(Vec<f64>, ThetaSource), String> {
    let usable = |v: Option<f64>| v.filter(|v| v.is_finite() && *v != 0.0 && v.abs() < 1e5);
    let linspace = |start: f64, range: f64| -> Vec<f64> {
        let steps = (projections - 1).max(1) as f64;
        (0..projections).map(|i| start + range * i as f64 / steps).collect()
    };
    let start = raw.start.filter(|v| v.is_finite()).unwrap_or(0.0);
    if let Some(range) = usable(raw.caller_range) {
        return Ok((linspace(0.0, range), ThetaSource::Caller));
    }
    if let Some(step) = usable(raw.step) {
        warn(
            "theta-missing",
            format!("no angles in the file; {projections} steps of {step} degrees from {start} are used"),
        );
        return Ok(((0..projections).map(|i| start + step * i as f64).collect(), ThetaSource::StartStep));
    }
    if let Some(range) = usable(raw.range) {
        warn(
            "theta-missing",
            format!(
                "no angles in the file; {projections} equal steps over {range} degrees, both ends included, are used"
            ),
        );
        return Ok((linspace(start, range), ThetaSource::RangeCount));
    }
    Err("neither angles nor a rotation range are in the file; give the range in degrees".into())
}

fn span_of(theta: &[f64]) -> f64 {
    let (low, high) = theta.iter().fold((f64::MAX, f64::MIN), |(l, h), &t| (l.min(t), h.max(t)));
    high - low
}

/// Degrees that span about π or 2π are not a scan; radians are.
fn in_radians(span: f64, projections: usize, raw: &Raw) -> bool {
    use std::f64::consts::{PI, TAU};
    match raw.unit.as_deref().map(str::to_lowercase) {
        Some(unit) if unit.starts_with("rad") => return true,
        Some(unit)
            if unit.starts_with("deg") && raw.range.is_some_and(|r| (r - span).abs() < 0.05 * r.abs()) =>
        {
            return false;
        }
        _ => {}
    }
    if let Some(range) = raw.range.filter(|r| r.is_finite() && *r > 20.0) {
        return (span.to_degrees() - range).abs() < 0.05 * range;
    }
    // Without the end point the span lacks one step.
    let closed = span * projections as f64 / (projections - 1).max(1) as f64;
    [span, closed].iter().any(|s| (s - PI).abs() < 0.02 * PI || (s - TAU).abs() < 0.02 * TAU)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(theta: Vec<f64>) -> Raw {
        Raw { stored: Some((theta, ThetaSource::Dataset)), name: "theta".into(), ..Raw::default() }
    }

    fn codes(raw: &Raw, n: usize) -> Vec<&'static str> {
        let mut warnings = Vec::new();
        resolve(raw, n, &mut warnings).unwrap();
        warnings.iter().map(|w| w.code).collect()
    }

    #[test]
    fn radians_are_told_from_degrees() {
        let half: Vec<f64> = (0..181).map(|i| f64::from(i).to_radians()).collect();
        assert_eq!(codes(&stored(half.clone()), 181), ["theta-radians"]);
        let (theta, _) = resolve(&stored(half), 181, &mut Vec::new()).unwrap();
        assert!((theta[90] - 90.0).abs() < 1e-9);
        let degrees: Vec<f64> = (0..181).map(f64::from).collect();
        assert!(codes(&stored(degrees), 181).is_empty());
        let open: Vec<f64> = (0..360).map(|i| f64::from(i).to_radians()).collect();
        assert_eq!(codes(&stored(open), 360), ["theta-radians"]);
    }

    #[test]
    fn odd_angles_warn_and_useless_ones_fail() {
        let zigzag: Vec<f64> =
            (0..100).map(|i| if i % 2 == 0 { f64::from(i) } else { f64::from(i) + 80.0 }).collect();
        assert_eq!(codes(&stored(zigzag), 100), ["theta-not-monotonic"]);
        let mut no = Vec::new();
        assert!(resolve(&stored(vec![1.0; 50]), 50, &mut no).is_err());
        assert!(resolve(&stored(vec![0.0, f64::NAN, 2.0]), 3, &mut no).is_err());
        assert!(resolve(&stored((0..40).map(f64::from).collect()), 50, &mut no).is_err());
        assert!(resolve(&stored((0..140).map(f64::from).collect()), 50, &mut no).is_err());
        assert!(resolve(&Raw::default(), 50, &mut no).is_err());
    }

    #[test]
    fn missing_angles_follow_the_metadata() {
        let raw = Raw { range: Some(180.0), ..Raw::default() };
        let (theta, source) = resolve(&raw, 5, &mut Vec::new()).unwrap();
        assert_eq!(theta, [0.0, 45.0, 90.0, 135.0, 180.0]);
        assert_eq!(source, ThetaSource::RangeCount);
        let raw = Raw { start: Some(10.0), step: Some(2.5), range: Some(180.0), ..Raw::default() };
        let (theta, source) = resolve(&raw, 3, &mut Vec::new()).unwrap();
        assert_eq!(theta, [10.0, 12.5, 15.0]);
        assert_eq!(source, ThetaSource::StartStep);
    }
}
