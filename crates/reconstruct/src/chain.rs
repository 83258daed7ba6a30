//! What happens to one pair of detector rows: sinograms, their filters, gridrec, filters on slices.

use std::ops::Range;

use tomo::Aligned;
use tomo::angular::{AngularFill, AngularFillWorkspace};
use tomo::beam_hardening::Polynomial;
use tomo::gridrec::{Done, Filter, Gridrec, GridrecOptions, Mode, Padding};
use tomo::normalize::Counts;
use tomo::ring::RingOptions;
use tomo::stitch::{StitchOptions, Stitcher};
use tomo::stripes::{
    Fill, FourierWavelet, FourierWaveletOptions, FourierWaveletWorkspace, Smoothing, SmoothingOptions,
    SmoothingWorkspace, Titarenko, TitarenkoOptions, TitarenkoWorkspace,
};
use volume::{Histogram, Spent};

use crate::clocks::{Clocks, Stage};
use crate::plan::Plan;
use crate::recipe::{FilterName, GridrecMode, PaddingMethod, Recipe, RingMethod, StripeMethod};
use crate::report::Quality;
use crate::source::{Block, sinogram_row};
use crate::{Error, Result};

/// Everything that is the same for all pairs; shared by all threads.
pub struct Chain {
    projections: usize,
    columns: usize,
    width: usize,
    hardening: Option<Polynomial>,
    stripes: Stripes,
    stitcher: Option<Stitcher>,
    fill: Option<AngularFill>,
    gridrec: Gridrec,
    rings: Option<Rings>,
    mask_ratio: Option<f32>,
}

/// Scratch of one thread.
pub struct Workspace {
    sinograms: [Aligned; 2],
    stitched: [Aligned; 2],
    filled: Option<([Vec<f32>; 2], AngularFillWorkspace)>,
    /// Images of rows that are computed only because their neighbour is wanted.
    spare: Vec<f32>,
    stripes: StripesWorkspace,
    gridrec: tomo::gridrec::Workspace,
}

enum Stripes {
    None,
    FourierWavelet(FourierWavelet),
    Titarenko(Titarenko),
    Smoothing(Smoothing),
}

enum StripesWorkspace {
    None,
    FourierWavelet(Box<FourierWaveletWorkspace>),
    Titarenko(TitarenkoWorkspace),
    Smoothing(SmoothingWorkspace),
}

impl Chain {
    /// Prepares every step of `plan` for projections at `angles` (radians) with `columns` columns.
    pub fn new(plan: &Plan, angles: &[f64], columns: usize) -> Result<Self> {
        let (recipe, center) = (&plan.recipe, plan.center.center);
        let (stitcher, mut used_angles) = match &plan.stitch {
            Some(_) => {
                let stitcher =
                    Stitcher::new(StitchOptions::from_center(center, columns), angles.len(), columns)
                        .map_err(Error::numerics("stitching"))?;
                let half = angles[..stitcher.shape().0].to_vec();
                (Some(stitcher), half)
            }
            None => (None, angles.to_vec()),
        };
        let width = plan.slice_columns;
        let center = stitcher.as_ref().map_or(center, Stitcher::center);
        let fill = recipe.angles.fill.then(|| AngularFill::new(&used_angles, width, center)).transpose();
        let fill = fill.map_err(Error::numerics("angles.fill"))?;
        if let Some(fill) = &fill {
            used_angles = fill.angles();
        }
        let mask_ratio = recipe.mask.enabled.then_some(recipe.mask.ratio as f32);
        let gridrec = Gridrec::new(&GridrecOptions {
            columns: width,
            angles: used_angles,
            center,
            mode: match recipe.gridrec.mode {
                GridrecMode::Exact => Mode::Exact,
                GridrecMode::Tomopy => Mode::Tomopy,
            },
            filter: filter(recipe),
            padding: padding(recipe, width),
            // From per pixel to per centimetre; 1 µm is 1e-4 cm.
            scale: plan.pixel_um.map_or(1.0, |um| (1.0 / (um * 1e-4)) as f32),
            mask_ratio,
        })
        .map_err(Error::numerics("gridrec"))?;
        let coefficients = &recipe.beam_hardening.coefficients;
        let hardening = if coefficients.is_empty() { None } else { Some(polynomial(coefficients)?) };
        Ok(Self {
            projections: angles.len(),
            columns,
            width,
            hardening,
            stripes: stripes(recipe, angles.len(), columns)?,
            stitcher,
            fill,
            gridrec,
            rings: Rings::new(recipe, width),
            mask_ratio,
        })
    }

    /// Scratch for one thread.
    pub fn workspace(&self) -> Result<Workspace> {
        let sinogram = || Aligned::zeros(self.projections * self.columns);
        let wide = self.stitcher.as_ref().map_or(0, |stitcher| stitcher.shape().0 * self.width);
        Ok(Workspace {
            sinograms: [sinogram(), sinogram()],
            stitched: [Aligned::zeros(wide), Aligned::zeros(wide)],
            filled: self.fill.as_ref().map(|fill| {
                let size = fill.filled() * self.width;
                ([vec![0f32; size], vec![0f32; size]], fill.workspace())
            }),
            spare: Vec::new(),
            stripes: match &self.stripes {
                Stripes::None => StripesWorkspace::None,
                Stripes::FourierWavelet(plan) => StripesWorkspace::FourierWavelet(Box::new(plan.workspace())),
                Stripes::Titarenko(plan) => StripesWorkspace::Titarenko(plan.workspace()),
                Stripes::Smoothing(plan) => StripesWorkspace::Smoothing(plan.workspace()),
            },
            gridrec: self.gridrec.workspace(),
        })
    }

    /// Bytes of one [`Workspace`].
    pub fn workspace_bytes(&self) -> u64 {
        let sinograms = 2 * self.projections * self.columns * 4;
        let wide = self.stitcher.as_ref().map_or(0, |stitcher| 2 * stitcher.shape().0 * self.width * 4);
        let fill = self.fill.as_ref();
        let filled = fill.map_or(0, |fill| 2 * fill.filled() * self.width * 4 + fill.workspace_bytes());
        let stripes = match &self.stripes {
            Stripes::FourierWavelet(plan) => plan.workspace_bytes(),
            Stripes::None => 0,
            Stripes::Titarenko(_) | Stripes::Smoothing(_) => sinograms,
        };
        // The spare image exists only where rows are skipped or the range begins at an odd row.
        let spare = self.width * self.width * 4;
        (sinograms + wide + filled + stripes + spare + self.gridrec.workspace_bytes()) as u64
    }

    /// Bytes that all threads share.
    pub fn shared_bytes(&self) -> u64 {
        self.gridrec.shared_bytes() as u64
    }

    /// Reconstructs rows `row` and, if `both`, `row + 1` of `block` into the images that are given. Unless slices are
    /// filtered, `done` is shown a pair while it is made, in the time of [`Stage::Tiff`]; one that was not asked for is
    /// shown as well.
    pub fn pair(
        &self,
        workspace: &mut Workspace,
        block: &Block,
        row: usize,
        both: bool,
        images: [Option<&mut [f32]>; 2],
        done: &mut Done<'_>,
        clocks: &Clocks,
    ) -> Result<Quality> {
        let Workspace { sinograms, stitched, filled, spare, stripes, gridrec } = workspace;
        let (Some(samples), Some(normalizer)) = (&block.samples, &block.normalizer) else {
            return Err(Error::Thread("reader"));
        };
        let rows = if both { 2 } else { 1 };
        let mut quality = Quality::default();
        for (offset, sinogram) in sinograms.iter_mut().take(rows).enumerate() {
            let mut counts = Counts::default();
            let mut correct = |angles: Range<usize>, lines: &mut [f32]| {
                counts += sinogram_row(normalizer, samples, row + offset, angles, lines)?;
                if let Some(hardening) = &self.hardening {
                    hardening.apply(lines);
                }
                Ok(())
            };
            self.sinogram(stripes, sinogram, &mut correct, clocks)?;
            if images[offset].is_some() {
                quality.not_finite += counts.non_finite as u64;
                quality.clipped += counts.clipped as u64;
                quality.total += sinogram.len() as u64;
            }
        }
        let mut ready: [&[f32]; 2] = [&sinograms[0], &sinograms[1]];
        if let Some(stitcher) = &self.stitcher {
            for (sinogram, wide) in sinograms.iter().zip(stitched.iter_mut()).take(rows) {
                clocks
                    .time(Stage::Sinogram, || stitcher.apply(sinogram, wide))
                    .map_err(Error::numerics("stitching"))?;
            }
            ready = [&stitched[0], &stitched[1]];
        }
        if let (Some(fill), Some(([first, second], scratch))) = (&self.fill, filled) {
            // The row at the detector's edge has nothing beside it.
            let alone = vec![0f32; if both { 0 } else { ready[0].len() }];
            let pair = if both { ready } else { [ready[0], alone.as_slice()] };
            clocks
                .time(Stage::Sinogram, || fill.apply_pair(scratch, pair, [first, second]))
                .map_err(Error::numerics("angles.fill"))?;
            ready = [first.as_slice(), second.as_slice()];
        }
        let [mut first, mut second] = images;
        let reconstruct = |part: &Spent| match (first.as_deref_mut(), second.as_deref_mut()) {
            (None, None) => Ok(()),
            (first, second) if both => {
                if first.is_none() || second.is_none() {
                    spare.resize(self.width * self.width, 0.0);
                }
                let images: [&mut [f32]; 2] = match (first, second) {
                    (Some(first), Some(second)) => [first, second],
                    (Some(first), None) => [first, spare],
                    (None, Some(second)) => [spare, second],
                    (None, None) => return Ok(()),
                };
                let mut show = |images: [&[f32]; 2]| {
                    if self.rings.is_none() {
                        part.time(|| done(images));
                    }
                };
                self.gridrec.reconstruct_showing(gridrec, ready, images, &mut show)
            }
            (Some(first), _) => self.gridrec.reconstruct_one(gridrec, ready[0], first),
            _ => Ok(()),
        };
        clocks.time_apart(Stage::Gridrec, Stage::Tiff, reconstruct).map_err(Error::numerics("gridrec"))?;
        if let Some(rings) = &self.rings {
            for image in [first, second].into_iter().flatten() {
                clocks.time(Stage::Slice, || rings.remove(image))?;
            }
        }
        Ok(quality)
    }

    /// Counts a sample of a slice's voxels inside the mask. Which voxels are counted depends on their
    /// position alone, so histograms of parts add up to the same.
    pub fn sample(&self, image: &[f32], z: usize, histogram: &mut Histogram) {
        let (width, stride) = (self.width, (self.width / 256).max(1));
        let mut line = Vec::with_capacity(width / stride + 1);
        let radius = f64::from(self.mask_ratio.unwrap_or(1.0).min(1.0)) * width as f64 / 2.0;
        for y in ((z * 7) % stride..width).step_by(stride) {
            let dy = y as f64 - (width as f64 / 2.0 - 1.0);
            let reach = (radius * radius - dy * dy).max(0.0).sqrt();
            let (left, right) = (width as f64 / 2.0 - reach, width as f64 / 2.0 + reach);
            let (left, right) = (left.ceil().max(0.0) as usize, (right.floor().max(0.0) as usize).min(width));
            line.clear();
            line.extend(image[y * width..(y + 1) * width].iter().take(right).skip(left).step_by(stride));
            histogram.add(&line);
        }
    }

    /// Makes a sinogram by `correct`, and removes its stripes.
    fn sinogram(
        &self,
        workspace: &mut StripesWorkspace,
        sinogram: &mut [f32],
        correct: &mut Fill<'_>,
        clocks: &Clocks,
    ) -> Result<()> {
        if let (Stripes::FourierWavelet(plan), StripesWorkspace::FourierWavelet(scratch)) =
            (&self.stripes, &mut *workspace)
        {
            return clocks
                .time_apart(Stage::Sinogram, Stage::Correct, |part| {
                    plan.remove_filling(scratch, sinogram, &mut |angles, lines| {
                        part.time(|| correct(angles, lines))
                    })
                })
                .map_err(Error::numerics("flat and dark field, stripes"));
        }
        clocks
            .time(Stage::Correct, || correct(0..self.projections, sinogram))
            .map_err(Error::numerics("flat and dark field"))?;
        clocks
            .time(Stage::Sinogram, || match (&self.stripes, workspace) {
                (Stripes::Titarenko(plan), StripesWorkspace::Titarenko(scratch)) => {
                    plan.remove(scratch, sinogram)
                }
                (Stripes::Smoothing(plan), StripesWorkspace::Smoothing(scratch)) => {
                    plan.remove(scratch, sinogram)
                }
                _ => Ok(()),
            })
            .map_err(Error::numerics("stripes"))
    }
}

fn stripes(recipe: &Recipe, projections: usize, columns: usize) -> Result<Stripes> {
    let settings = &recipe.stripes;
    match settings.method {
        StripeMethod::None => Ok(Stripes::None),
        StripeMethod::FourierWavelet => {
            let options = FourierWaveletOptions {
                sigma: settings.sigma,
                level: settings.level,
                wavelet: settings.wavelet.order,
                pad: settings.pad,
            };
            FourierWavelet::new(options, projections, columns).map(Stripes::FourierWavelet)
        }
        StripeMethod::Titarenko => {
            let options =
                TitarenkoOptions { nblock: settings.titarenko_nblock, alpha: settings.titarenko_alpha };
            Titarenko::new(options, projections, columns).map(Stripes::Titarenko)
        }
        StripeMethod::Smoothing => {
            let options = SmoothingOptions { size: settings.smoothing_size };
            Smoothing::new(options, projections, columns).map(Stripes::Smoothing)
        }
    }
    .map_err(Error::numerics("stripes"))
}

/// The recipe's polynomial; the kernel takes six coefficients.
fn polynomial(coefficients: &[f64]) -> Result<Polynomial> {
    let mut six = [0f32; 6];
    if coefficients.len() > six.len() {
        return Err(Error::BadInput(format!(
            "beam_hardening.coefficients has {} numbers; up to {} (a0 to a5) are used",
            coefficients.len(),
            six.len()
        )));
    }
    six.iter_mut().zip(coefficients).for_each(|(to, &from)| *to = from as f32);
    Polynomial::new(six).map_err(Error::numerics("beam hardening"))
}

fn filter(recipe: &Recipe) -> Filter {
    let settings = &recipe.gridrec;
    match settings.filter {
        FilterName::None => Filter::None,
        FilterName::Ramlak => Filter::Ramlak,
        FilterName::Shepp => Filter::Shepp,
        FilterName::Cosine => Filter::Cosine,
        FilterName::Hann => Filter::Hann,
        FilterName::Hamming => Filter::Hamming,
        FilterName::Parzen => Filter::Parzen,
        FilterName::Butterworth => Filter::Butterworth { cutoff: settings.cutoff, order: settings.order },
    }
}

fn padding(recipe: &Recipe, width: usize) -> Padding {
    let columns = recipe.gridrec.padding_columns(width);
    match recipe.gridrec.padding {
        PaddingMethod::None => Padding::None,
        PaddingMethod::Zero => Padding::Zero(columns),
        PaddingMethod::Edge => Padding::Edge(columns),
    }
}

/// Overlap, width and centre of what a 360° half-acquisition becomes.
pub fn stitched(angles: usize, columns: usize, center: f64) -> Result<(f64, usize, f64)> {
    let options = StitchOptions::from_center(center, columns);
    let stitcher = Stitcher::new(options, angles, columns).map_err(Error::numerics("stitching"))?;
    Ok((options.overlap, stitcher.shape().1, stitcher.center()))
}

/// Removal of rings from slices, with the recipe's parameters.
struct Rings {
    options: RingOptions,
    width: usize,
}

impl Rings {
    fn new(recipe: &Recipe, width: usize) -> Option<Self> {
        let settings = &recipe.rings;
        (settings.method == RingMethod::Polar).then_some(Self {
            options: RingOptions {
                arc: settings.arc_deg as usize,
                width: settings.width,
                threshold: settings.threshold as f32,
                min: settings.minimum as f32,
                max: settings.maximum as f32,
            },
            width,
        })
    }

    fn remove(&self, image: &mut [f32]) -> Result<()> {
        // Rings run around the rotation axis of the image's frame.
        let axis = (self.width as f32 / 2.0, self.width as f32 / 2.0 - 1.0);
        tomo::ring::polar_ring_removal(image, self.width, self.width, Some(axis), &self.options)
            .map_err(Error::numerics("rings"))
    }
}
