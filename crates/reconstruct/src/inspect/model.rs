//! From what was measured to seconds. A job is a start, a stream of slices, and an end. In the stream the threads that
//! read, hash and write share the cores with those that compute, so their CPU seconds are added; the disk takes results
//! meanwhile, and the slower of the two sets the pace.

/// What the machine gives.
#[derive(Debug, Clone, Copy)]
pub(super) struct Machine {
    /// CPU seconds in a second, of all threads together.
    pub cores: f64,
    /// Bytes a second that the disk takes.
    pub disk_bytes_per_s: Option<f64>,
}

/// What a job asks for.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Work {
    /// Wall seconds before the stream and after it, while nothing is streamed.
    pub around_s: f64,
    /// CPU seconds in those.
    pub around_cpu_s: f64,
    /// CPU seconds in the stream that do not depend on the number of slices.
    pub once_cpu_s: f64,
    /// CPU seconds of a slice.
    pub slice_cpu_s: f64,
    /// Bytes that are written of a slice.
    pub slice_bytes: f64,
}

/// What comes of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Time {
    /// Wall seconds.
    pub seconds: f64,
    /// CPU seconds.
    pub cpu_s: f64,
    /// What the seconds go to: `computing` or `disk`.
    pub limit: &'static str,
}

impl Work {
    /// The time of so many slices.
    pub fn time(&self, slices: usize, machine: &Machine) -> Time {
        let slices = slices as f64;
        let stream = self.once_cpu_s + self.slice_cpu_s * slices;
        let computing = stream / machine.cores.max(f64::MIN_POSITIVE);
        let disk = machine.disk_bytes_per_s.map_or(0.0, |rate| self.slice_bytes * slices / rate);
        Time {
            seconds: self.around_s + computing.max(disk),
            cpu_s: self.around_cpu_s + stream,
            limit: if disk > computing { "disk" } else { "computing" },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORK: Work =
        Work { around_s: 1.5, around_cpu_s: 2.0, once_cpu_s: 2.0, slice_cpu_s: 0.1, slice_bytes: 46e6 };
    const MACHINE: Machine = Machine { cores: 2.0, disk_bytes_per_s: Some(2e9) };

    #[test]
    fn start_and_stream_add_up() {
        let time = WORK.time(980, &MACHINE);
        assert!((time.seconds - (1.5 + 1.0 + 49.0)).abs() < 1e-9 && (time.cpu_s - 102.0).abs() < 1e-9);
        assert_eq!(time.limit, "computing");
    }

    #[test]
    fn a_slow_disk_sets_the_pace() {
        let slow = Machine { disk_bytes_per_s: Some(0.5e9), ..MACHINE };
        let time = WORK.time(980, &slow);
        assert!((time.seconds - (1.5 + 980.0 * 46e6 / 0.5e9)).abs() < 1e-9);
        assert_eq!(time.limit, "disk");
        // One that could not be measured is left out.
        let unknown = WORK.time(980, &Machine { disk_bytes_per_s: None, ..MACHINE });
        assert_eq!(unknown, WORK.time(980, &MACHINE));
    }

    #[test]
    fn what_writes_less_is_not_slower() {
        let without_zarr = Work { slice_cpu_s: 0.08, slice_bytes: 26e6, ..WORK };
        for rate in [0.1e9, 0.5e9, 2e9] {
            let machine = Machine { disk_bytes_per_s: Some(rate), ..MACHINE };
            assert!(without_zarr.time(980, &machine).seconds < WORK.time(980, &machine).seconds);
        }
    }

    #[test]
    fn more_slices_take_longer_and_more_cores_do_not() {
        let times: Vec<_> = (1..2000).step_by(37).map(|n| WORK.time(n, &MACHINE).seconds).collect();
        assert!(times.is_sorted_by(|a, b| a < b));
        let cores: Vec<_> =
            (1..64).map(|n| WORK.time(980, &Machine { cores: f64::from(n), ..MACHINE }).seconds).collect();
        assert!(cores.is_sorted_by(|a, b| a >= b));
        // However many they are, the start and the disk stay.
        assert!(cores.iter().all(|&seconds| seconds >= 1.5 + 980.0 * 46e6 / 2e9));
    }
}
