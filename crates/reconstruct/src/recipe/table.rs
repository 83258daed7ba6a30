//! Every parameter of a reconstruction, declared once.
//!
//! The `recipe!` table below makes the typed [`Recipe`] with its sections **and** [`PARAMETERS`], from
//! which come reading and checking of recipe files, `--set`, `beamrail recipes`, the documentation and
//! the web form. To add a parameter, add an entry here; its doc comment is its help. The order of the
//! sections is the order in which the job works.

use super::choices::{
    AngleSign, CenterMethod, Decision, FilterName, FlatMethod, GridrecMode, OutlierMethod, OutputType,
    PaddingMethod, PhaseMethod, Region, RingMethod, ScanRange, StripeMethod, Wavelet, ZarrCompression,
};
use super::value::{Kind, Limits, Setting, Value};
use serde::{Deserialize, Serialize};

/// What the table knows about one parameter.
#[derive(Clone, Copy)]
pub struct Parameter {
    /// Section in the recipe file.
    pub section: &'static str,
    /// Name within the section.
    pub name: &'static str,
    /// `section.name`, as `--set` takes it.
    pub key: &'static str,
    /// Type.
    pub kind: Kind,
    /// Unit, or empty.
    pub unit: &'static str,
    /// Range.
    pub limits: Limits,
    help: &'static str,
    get: fn(&Recipe) -> Value,
    set: fn(&mut Recipe, &Value) -> bool,
}

impl Parameter {
    /// What it does, in one to three sentences.
    pub fn help(&self) -> &'static str {
        self.help.trim_start()
    }

    /// Its value in `recipe`.
    pub fn get(&self, recipe: &Recipe) -> Value {
        (self.get)(recipe)
    }

    /// Its value where nothing else is said.
    pub fn default_value(&self) -> Value {
        self.get(&Recipe::default())
    }

    /// Puts `value` into `recipe`.
    ///
    /// # Errors
    /// Says what is allowed when the value has the wrong type or lies outside the range; the recipe is
    /// then unchanged.
    pub fn set(&self, recipe: &mut Recipe, value: &Value) -> Result<(), String> {
        let value = self.adapt(value);
        let numbers: &[f64] = match &value {
            Value::Number(number) => &[*number],
            Value::Integer(number) => &[*number as f64],
            Value::Numbers(numbers) => numbers,
            _ => &[],
        };
        let is_number = !matches!(self.kind.inner(), Kind::Choice(_) | Kind::Text(_) | Kind::Flag);
        if is_number && numbers.iter().any(|number| !self.limits.allow(*number)) {
            return Err(format!("{value} is out of range; allowed: {}", self.allowed()));
        }
        if (self.set)(recipe, &value) {
            Ok(())
        } else {
            let near = match &value {
                Value::Text(text) => {
                    super::nearest(text, self.kind.choices().iter().map(|choice| choice.name))
                }
                _ => None,
            };
            let near = near.map(|name| format!("; did you mean \"{name}\"?")).unwrap_or_default();
            Err(format!("{value} is not allowed: {}{near}", self.allowed()))
        }
    }

    /// Type, range and unit in words.
    pub fn allowed(&self) -> String {
        let mut words = self.kind.inner().words();
        let limits = self.limits.words();
        if !limits.is_empty() {
            words = format!("{words} ({limits})");
        }
        if !self.unit.is_empty() {
            words = format!("{words}, unit {}", self.unit);
        }
        if self.kind.is_optional() { words + ", or auto" } else { words }
    }

    /// Lets `range = 180` and `half_acquisition = true` stand for the names of choices.
    fn adapt(&self, value: &Value) -> Value {
        match (self.kind.inner(), value) {
            (Kind::Choice(_), Value::Integer(number)) => Value::Text(number.to_string()),
            (Kind::Choice(_), Value::Flag(true)) => Value::Text("yes".into()),
            (Kind::Choice(_), Value::Flag(false)) => Value::Text("no".into()),
            _ => value.clone(),
        }
    }
}

impl std::fmt::Debug for Parameter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Parameter({})", self.key)
    }
}

/// A section of the recipe: its name and what it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Section {
    /// As written in a recipe.
    pub name: &'static str,
    help: &'static str,
}

impl Section {
    /// What the section is about.
    pub fn help(&self) -> &'static str {
        self.help.trim_start()
    }

    /// Its parameters, in the table's order.
    pub fn parameters(&self) -> impl Iterator<Item = &'static Parameter> {
        let name = self.name;
        PARAMETERS.iter().filter(move |parameter| parameter.section == name)
    }
}

/// An optional item of a table entry, or its default.
macro_rules! or {
    (, $default:expr) => {
        $default
    };
    ($given:expr, $default:expr) => {
        $given
    };
}

/// Declares sections of parameters: `name: Type = default [, unit "..."] [, limits ...];`.
macro_rules! recipe {
    ($(
        $(#[doc = $about:literal])+
        $section:ident: $Section:ident {
            $(
                $(#[doc = $help:literal])+
                $name:ident: $type:ty = $default:expr $(, unit $unit:literal)? $(, limits $limits:expr)?;
            )+
        }
    )+) => {
        $(
            $(#[doc = $about])+
            #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
            #[serde(deny_unknown_fields)]
            pub struct $Section {
                $( $(#[doc = $help])+ pub $name: $type, )+
            }

            impl Default for $Section {
                fn default() -> Self {
                    Self { $( $name: $default, )+ }
                }
            }
        )+

        /// The parameters of a reconstruction; goes into plans, reports and provenance as it is.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct Recipe {
            /// Name, for people; the built-in it started from unless a file says otherwise.
            pub name: String,
            /// One sentence on what the recipe is for.
            pub description: String,
            $( $(#[doc = $about])+ pub $section: $Section, )+
        }

        impl Default for Recipe {
            /// The table's defaults: the built-in recipe `default`.
            fn default() -> Self {
                Self {
                    name: "default".into(),
                    description: String::new(),
                    $( $section: $Section::default(), )+
                }
            }
        }

        /// Every section, in the order of the work.
        pub static SECTIONS: &[Section] =
            &[ $( Section { name: stringify!($section), help: concat!($($about),+) }, )+ ];

        /// Every parameter, section by section.
        pub static PARAMETERS: &[Parameter] = &[ $( $( Parameter {
            section: stringify!($section),
            name: stringify!($name),
            key: concat!(stringify!($section), ".", stringify!($name)),
            kind: <$type as Setting>::KIND,
            unit: or!($($unit)?, ""),
            limits: or!($($limits)?, Limits::Any),
            help: concat!($($help),+),
            get: |recipe| recipe.$section.$name.to_value(),
            set: |recipe, value| match Setting::from_value(value) {
                Some(value) => { recipe.$section.$name = value; true }
                None => false,
            },
        }, )+ )+ ];
    };
}

recipe! {
    /// The scan's geometry. What is `auto` comes from the scan's metadata.
    geometry: Geometry {
        /// Edge of a detector pixel in the object. `auto`: from the scan; where the scan does not know it,
        /// voxels are in 1/pixel and the report says so.
        pixel_size_um: Option<f64> = None, unit "µm", limits Limits::Within(0.001, 10_000.0);
        /// Subtracted from theta.
        angle_offset_deg: f64 = 0.0, unit "degree", limits Limits::Within(-360.0, 360.0);
        /// Sense in which theta counts. Negative at beamline 8.3.2; the other sign mirrors every slice.
        angle_sign: AngleSign = AngleSign::Negative;
        /// How far the object turned.
        range: ScanRange = ScanRange::Auto;
        /// Whether a 360° scan has the rotation axis near an edge of the detector, so that two halves make
        /// a wider sinogram. `auto`: as the overlap found in the data says.
        half_acquisition: Decision = Decision::Auto;
    }

    /// Reduction of the data before anything else.
    binning: Binning {
        /// Averages squares of so many detector pixels: 2 makes a volume of an eighth of the size in about an
        /// eighth of the time.
        factor: usize = 1, unit "pixel", limits Limits::OneOf(&[1.0, 2.0, 4.0]);
    }

    /// Flat-field and dark-field correction.
    flat: Flat {
        /// How flat fields are applied. `interpolated` follows a beam that drifts between the groups of
        /// flat fields; with a single group it equals `mean`.
        method: FlatMethod = FlatMethod::Interpolated;
        /// Columns of air at each edge of the detector that method `background` scales to 1.
        background_air: usize = 10, unit "column", limits Limits::Within(1.0, 10_000.0);
        /// Region of air that method `region` scales to 1, in detector pixels.
        region: Option<Region> = None;
    }

    /// From transmission to attenuation, -ln.
    transmission: Transmission {
        /// Smaller transmissions are raised to this one before the logarithm.
        minimum: f64 = 0.01, limits Limits::Within(1e-6, 0.999);
    }

    /// Removal of zingers: pixels that a stray particle lit.
    outliers: Outliers {
        /// Neighbourhood of the median.
        method: OutlierMethod = OutlierMethod::None;
        /// Raw counts above the median from which a pixel is replaced by it.
        difference: f64 = 750.0, unit "count", limits Limits::Above(0.0, 1e9);
        /// Edge of the neighbourhood.
        size: usize = 3, unit "pixel", limits Limits::Odd(3.0, 31.0);
    }

    /// Lens distortion of the detector's optics.
    lens: Lens {
        /// Whether to correct it.
        enabled: bool = false;
        /// Column and row of the optical axis.
        center: (f64, f64) = (1280.0, 1080.0), unit "pixel", limits Limits::Within(-100_000.0, 100_000.0);
        /// Polynomial in the distance from the optical axis (pixels), constant first: the factor by which
        /// the distance is stretched. The default was measured at 8.3.2.
        factors: Vec<f64> = vec![1.000_150_76, 1.9289e-6, -2.4325e-8, 1.004_39e-11, -3.993_52e-15],
            limits Limits::Within(-10.0, 10.0);
    }

    /// Tilt of the rotation axis in the detector's plane.
    tilt: Tilt {
        /// Angle by which projections are turned about their middle, counterclockwise.
        angle_deg: f64 = 0.0, unit "degree", limits Limits::Within(-45.0, 45.0);
    }

    /// Phase retrieval from propagation fringes.
    phase: Phase {
        /// Method.
        method: PhaseMethod = PhaseMethod::None;
        /// Ratio of absorption to phase: smaller is smoother.
        alpha: f64 = 1e-3, limits Limits::Above(0.0, 1e6);
        /// Distance from object to detector. `auto`: from the scan.
        distance_mm: Option<f64> = None, unit "mm", limits Limits::Above(0.0, 1e6);
        /// Photon energy. `auto`: from the scan.
        energy_kev: Option<f64> = None, unit "keV", limits Limits::Within(0.1, 1000.0);
        /// Whether projections are padded before filtering, against wrap-around at their edges.
        pad: bool = true;
    }

    /// Beam hardening.
    beam_hardening: BeamHardening {
        /// Polynomial a0 + a1 p + a2 p² ... that replaces attenuation p, constant first. Empty: none.
        /// `[0, 1]` changes nothing; `[0, 1, 0, 0, 0, 0.004]` is what the production script proposes.
        coefficients: Vec<f64> = Vec::new(), limits Limits::Within(-1e6, 1e6);
    }

    /// Removal of stripes from sinograms, which would become rings.
    stripes: Stripes {
        /// Method.
        method: StripeMethod = StripeMethod::FourierWavelet;
        /// Width of the damped band of frequencies (fourier-wavelet): larger removes broader stripes, and
        /// more of the object.
        sigma: f64 = 3.0, limits Limits::Above(0.0, 1000.0);
        /// Wavelet levels (fourier-wavelet). Each level reaches stripes of twice the width, and takes more of
        /// the object: on a foam of 1024 columns 2 levels keep 99 % of the contrast, 4 levels 97 %, and the
        /// production's 8 levels 63 % (docs/correctness.md). Raise it only for rings that stay.
        level: usize = 2, limits Limits::Within(1.0, 16.0);
        /// Wavelet (fourier-wavelet).
        wavelet: Wavelet = Wavelet { order: 5 };
        /// Whether sinograms are extended by an eighth in angle (fourier-wavelet).
        pad: bool = true;
        /// Blocks of angles corrected on their own (titarenko); 0: one block.
        titarenko_nblock: usize = 0, limits Limits::Within(0.0, 1000.0);
        /// Damping (titarenko).
        titarenko_alpha: f64 = 1.5, limits Limits::Above(0.0, 1000.0);
        /// Width of the smoothing window (smoothing).
        smoothing_size: usize = 5, unit "column", limits Limits::Within(1.0, 10_000.0);
    }

    /// The rotation centre: 0-based detector column, pixel centres at integers, before any binning.
    center: Center {
        /// How it is found.
        method: CenterMethod = CenterMethod::Auto;
        /// The centre, for method `fixed`. `auto`: found by the method.
        value: Option<f64> = None, unit "column", limits Limits::Within(-1e6, 1e6);
        /// Columns between which it is sought. `auto`: wherever the method looks by itself.
        search: Option<(f64, f64)> = None, unit "column", limits Limits::Within(-1e6, 1e6);
        /// Detector rows used, spread over the height.
        rows: usize = 5, unit "row", limits Limits::Within(1.0, 64.0);
        /// Confidence, 0 to 1, below which a centre is not believed.
        minimum_confidence: f64 = 0.5, limits Limits::Within(0.0, 1.0);
        /// Whether the job goes on with a centre it does not believe (and warns) instead of stopping.
        accept_unbelieved: bool = false;
    }

    /// Projection angles.
    angles: Angles {
        /// Whether projections between the measured angles are computed, up to fourfold, from what the sinogram
        /// tells of them. For half a turn in even steps, with fewer angles than about 1.5 × columns: fewer
        /// streaks, an eighth less error, two to three times the computing (docs/correctness.md).
        fill: bool = false;
    }

    /// Reconstruction of slices from sinograms.
    gridrec: Gridrec {
        /// Which gridrec.
        mode: GridrecMode = GridrecMode::Exact;
        /// Window applied to the ramp. The default is the production's Butterworth: a tenth of the ramp's
        /// noise variance (shepp: six tenths) for half the contrast at half the Nyquist frequency, which the
        /// optics of a scintillator detector hardly pass. Only the recipe changes then, not the look of a
        /// volume; choose shepp for sharper, noisier slices.
        filter: FilterName = FilterName::Butterworth;
        /// Frequency at which the Butterworth window is one half; 0.5 is the Nyquist frequency.
        cutoff: f64 = 0.25, unit "cycles per pixel", limits Limits::Above(0.0, 1.0);
        /// Order of the Butterworth window: larger is steeper.
        order: f64 = 2.0, limits Limits::Above(0.0, 32.0);
        /// Extension of sinograms. `exact` always convolves linearly, so it needs none; `edge` softens the
        /// bright rim of objects wider than the field of view.
        padding: PaddingMethod = PaddingMethod::Edge;
        /// Columns added on each side. `auto`: to the diagonal, (n√2 - n) / 2.
        pad_columns: Option<usize> = None, unit "column", limits Limits::Within(0.0, 100_000.0);
    }

    /// Removal of rings from slices.
    rings: Rings {
        /// Method.
        method: RingMethod = RingMethod::None;
        /// Largest offset of a ring; larger differences are taken for object.
        threshold: f64 = 300.0, unit "1/cm", limits Limits::Above(0.0, 1e9);
        /// Values of the slice are held above this one while rings are looked for.
        minimum: f64 = -100.0, unit "1/cm", limits Limits::Within(-1e9, 1e9);
        /// Values of the slice are held below this one while rings are looked for.
        maximum: f64 = 300.0, unit "1/cm", limits Limits::Within(-1e9, 1e9);
        /// Shortest arc that counts as a ring.
        arc_deg: f64 = 30.0, unit "degree", limits Limits::Within(1.0, 179.0);
        /// Widest ring.
        width: usize = 30, unit "pixel", limits Limits::Within(1.0, 1000.0);
    }

    /// The circular mask of slices; outside it no projection saw the object from every side.
    mask: Mask {
        /// Whether voxels outside the circle are set to 0.
        enabled: bool = true;
        /// Diameter of the circle as a fraction of the slice's width.
        ratio: f64 = 1.0, limits Limits::Above(0.0, 2.0);
    }

    /// The written voxels.
    output: Output {
        /// Type of the voxels, in TIFF slices and in OME-Zarr.
        dtype: OutputType = OutputType::Float32;
        /// Attenuation that becomes 0 in integers. `auto`, which both ends must then be: from slices sampled
        /// before the first one is written, with a margin.
        scale_min: Option<f64> = None, unit "1/cm", limits Limits::Within(-1e9, 1e9);
        /// Attenuation that becomes the largest integer. `auto`: as for output.scale_min.
        scale_max: Option<f64> = None, unit "1/cm", limits Limits::Within(-1e9, 1e9);
    }

    /// The OME-Zarr.
    zarr: Zarr {
        /// Compression of chunks.
        compression: ZarrCompression = ZarrCompression::Lz4;
        /// Effort of the compression: larger is smaller and slower.
        level: usize = 5, limits Limits::Within(1.0, 9.0);
    }
}
