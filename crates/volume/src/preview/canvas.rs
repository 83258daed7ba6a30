//! A small RGB canvas: rectangles, anti-aliased text, grey images; and the PNG.

use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster, get_raster_width};

use crate::error::{Error, Result};

/// Red, green, blue.
pub(super) type Color = [u8; 3];

/// Size and weight of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Font {
    /// 24 pixels, bold.
    Title,
    /// 16 pixels.
    Text,
    /// 16 pixels, bold.
    Strong,
}

impl Font {
    fn raster(self) -> (FontWeight, RasterHeight) {
        match self {
            Self::Title => (FontWeight::Bold, RasterHeight::Size24),
            Self::Text => (FontWeight::Regular, RasterHeight::Size16),
            Self::Strong => (FontWeight::Bold, RasterHeight::Size16),
        }
    }

    /// Width of a text in pixels.
    pub(super) fn width(self, text: &str) -> i64 {
        let (weight, height) = self.raster();
        (get_raster_width(weight, height) * text.chars().count()) as i64
    }

    /// Height of a line in pixels.
    pub(super) fn height(self) -> i64 {
        self.raster().1.val() as i64
    }
}

/// A picture being drawn. Everything outside is clipped.
#[derive(Debug)]
pub(super) struct Canvas {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
}

impl Canvas {
    pub(super) fn new(width: usize, height: usize, background: Color) -> Self {
        Self { width, height, pixels: background.repeat(width * height) }
    }

    /// Mixes `color` into a pixel; `alpha` 0 to 255.
    fn blend(&mut self, x: i64, y: i64, color: Color, alpha: u8) {
        if x < 0 || y < 0 || x >= self.width as i64 || y >= self.height as i64 {
            return;
        }
        let at = (y as usize * self.width + x as usize) * 3;
        let alpha = u32::from(alpha);
        for (p, c) in self.pixels[at..at + 3].iter_mut().zip(color) {
            *p = ((u32::from(*p) * (255 - alpha) + u32::from(c) * alpha + 127) / 255) as u8;
        }
    }

    /// A filled rectangle.
    pub(super) fn fill(&mut self, [x, y, width, height]: [i64; 4], color: Color, alpha: u8) {
        for row in y.max(0)..(y + height).min(self.height as i64) {
            for column in x.max(0)..(x + width).min(self.width as i64) {
                self.blend(column, row, color, alpha);
            }
        }
    }

    /// The border just outside a rectangle.
    pub(super) fn frame(&mut self, [x, y, width, height]: [i64; 4], thickness: i64, color: Color) {
        let t = thickness;
        self.fill([x - t, y - t, width + 2 * t, t], color, 255);
        self.fill([x - t, y + height, width + 2 * t, t], color, 255);
        self.fill([x - t, y, t, height], color, 255);
        self.fill([x + width, y, t, height], color, 255);
    }

    /// Text with its upper left corner at (x, y). Characters that the font lacks show as "?".
    pub(super) fn text(&mut self, mut x: i64, y: i64, text: &str, font: Font, color: Color) {
        let (weight, height) = font.raster();
        for c in text.chars() {
            let Some(glyph) = get_raster(c, weight, height).or_else(|| get_raster('?', weight, height))
            else {
                continue;
            };
            for (dy, line) in glyph.rows().enumerate() {
                for (dx, &alpha) in line.iter().enumerate().filter(|(_, a)| **a > 0) {
                    self.blend(x + dx as i64, y + dy as i64, color, alpha);
                }
            }
            x += glyph.width() as i64;
        }
    }

    /// Text on a dark plate, readable on any image.
    pub(super) fn label(&mut self, x: i64, y: i64, text: &str, font: Font, color: Color) {
        self.fill([x, y, font.width(text) + 12, font.height() + 6], [0, 0, 0], 150);
        self.text(x + 6, y + 3, text, font, color);
    }

    /// A grey image of (height, width) values, black at `window.0`, white at `window.1`, fitted to a
    /// rectangle. NaN is black.
    pub(super) fn image(&mut self, rect: [i64; 4], values: &[f32], width: usize, window: (f64, f64)) {
        let [x, y, w, h] = rect;
        if width == 0 || values.is_empty() || w <= 0 || h <= 0 {
            return;
        }
        let fitted = fit(values, width, w as usize, h as usize);
        let range = (window.1 - window.0).max(f64::MIN_POSITIVE);
        for (i, &v) in fitted.iter().enumerate() {
            let (column, row) = (x + (i % w as usize) as i64, y + (i / w as usize) as i64);
            // A cast of NaN gives 0.
            let grey = ((f64::from(v) - window.0) / range * 255.0).round() as u8;
            self.blend(column, row, [grey; 3], 255);
        }
    }

    /// The picture as PNG; the same picture gives the same bytes.
    pub(super) fn png(&self) -> Result<Vec<u8>> {
        let fail =
            |e: png::EncodingError| Error::parameter("preview", "PNG", format!("cannot be encoded: {e}"));
        let mut out = Vec::new();
        let mut encoder = png::Encoder::new(&mut out, self.width as u32, self.height as u32);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_compression(png::Compression::Balanced);
        let mut writer = encoder.write_header().map_err(fail)?;
        writer.write_image_data(&self.pixels).map_err(fail)?;
        writer.finish().map_err(fail)?;
        Ok(out)
    }
}

/// Resamples an image: the mean of what a pixel covers when it gets smaller, linear interpolation when it
/// gets larger. Axis by axis.
fn fit(values: &[f32], width: usize, to_width: usize, to_height: usize) -> Vec<f32> {
    let height = values.len() / width;
    let columns = weights(width, to_width);
    let rows = weights(height, to_height);
    let mut narrow = vec![0.0f32; height * to_width];
    for (line, out) in values.chunks_exact(width).zip(narrow.chunks_exact_mut(to_width)) {
        for (out, (start, weights)) in out.iter_mut().zip(&columns) {
            *out = weights.iter().zip(&line[*start..]).map(|(w, v)| w * v).sum();
        }
    }
    let mut out = vec![0.0f32; to_width * to_height];
    for (line, (start, weights)) in out.chunks_exact_mut(to_width).zip(&rows) {
        for (k, w) in weights.iter().enumerate() {
            let from = &narrow[(start + k) * to_width..][..to_width];
            for (out, v) in line.iter_mut().zip(from) {
                *out += w * v;
            }
        }
    }
    out
}

/// For each of `to` pixels, the first of `from` pixels that it takes and their weights.
fn weights(from: usize, to: usize) -> Vec<(usize, Vec<f32>)> {
    let step = from as f64 / to as f64;
    (0..to)
        .map(|i| {
            // A pixel covers its share of the axis, and when enlarging, the width of one source pixel.
            let centre = (i as f64 + 0.5) * step;
            let half = 0.5 * step.max(1.0);
            let (low, high) = ((centre - half).max(0.0), (centre + half).min(from as f64));
            let (first, last) = (low as usize, (high.ceil() as usize).clamp(low as usize + 1, from));
            let raw: Vec<f64> =
                (first..last).map(|k| (high.min(k as f64 + 1.0) - low.max(k as f64)).max(0.0)).collect();
            let sum: f64 = raw.iter().sum::<f64>().max(f64::MIN_POSITIVE);
            (first, raw.into_iter().map(|w| (w / sum) as f32).collect())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fitting_keeps_the_mean_and_the_edges() {
        let values: Vec<f32> = (0..12 * 6).map(|i| (i % 12) as f32).collect();
        let small = fit(&values, 12, 4, 3);
        // Means of three neighbours: 1, 4, 7, 10, within f32 rounding of the weights.
        for (a, b) in small[..4].iter().zip([1.0, 4.0, 7.0, 10.0]) {
            assert!((a - b).abs() < 1e-5, "{small:?}");
        }
        let large = fit(&values, 12, 48, 12);
        assert!((large[0] - 0.0).abs() < 1e-6 && (large[47] - 11.0).abs() < 1e-6);
        assert!(large[..48].windows(2).all(|p| p[0] <= p[1]));
        assert_eq!(fit(&[5.0], 1, 3, 2), [5.0; 6]);
    }

    #[test]
    fn drawing_outside_is_clipped() {
        let mut canvas = Canvas::new(20, 10, [1, 2, 3]);
        canvas.text(-30, -5, "µm", Font::Text, [255; 3]);
        canvas.fill([-5, -5, 100, 8], [9, 9, 9], 255);
        canvas.frame([0, 0, 20, 10], 3, [255; 3]);
        canvas.image([15, 5, 40, 40], &[f32::NAN, 1.0, 2.0, f32::INFINITY], 2, (0.0, 1.0));
        assert_eq!(&canvas.pixels[..3], [9, 9, 9]);
        assert_eq!(&canvas.png().unwrap()[1..4], b"PNG");
    }
}
