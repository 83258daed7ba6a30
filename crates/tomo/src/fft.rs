//! FFT lengths: which ones are fast, and how to plan them.

/// Estimated time of one complex FFT of length `n`, in arbitrary units; infinite where `n` has a factor above 7.
///
/// Radix 2 and 3 passes run at full speed in rustfft; 5 and 7 cost a little more per stage.
fn cost(n: usize) -> f64 {
    let mut rest = n;
    let mut stages = 0.0;
    for (factor, price) in [(2, 1.0), (3, 1.05 * 1.585), (5, 1.35 * 2.322), (7, 1.5 * 2.807)] {
        while rest > 1 && rest.is_multiple_of(factor) {
            rest /= factor;
            stages += price;
        }
    }
    if rest == 1 { n as f64 * (stages + 2.0) } else { f64::INFINITY }
}

/// The cheapest FFT length that is at least `minimum` and a multiple of `multiple` (a power of two).
///
/// Deterministic: it depends on the numbers alone, never on timings.
pub fn good_length(minimum: usize, multiple: usize) -> usize {
    let multiple = multiple.max(1);
    let first = minimum.max(1).div_ceil(multiple) * multiple;
    let mut best = (f64::INFINITY, first.next_power_of_two());
    let mut n = first;
    while n <= first + first / 4 + 16 * multiple {
        let price = cost(n);
        if price < best.0 {
            best = (price, n);
        }
        n += multiple;
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_long_enough_smooth_and_near() {
        for minimum in 1..3000 {
            let n = good_length(minimum, 2);
            assert!(n >= minimum && n.is_multiple_of(2));
            assert!(n <= minimum + minimum / 3 + 34, "{minimum} -> {n}");
            assert!(cost(n).is_finite());
        }
        assert_eq!(good_length(4096, 2), 4096);
    }
}
