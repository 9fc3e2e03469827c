//! Memory that is left, and large buffers that are refused rather than ending the process.
//!
//! Rust's own containers end the process where the system has no more memory. Buffers that grow
//! with the data are therefore made here: they are asked for first, with some room beside them for
//! all the small things, and a call that cannot have them ends by [`crate::running::stop`].

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::stop::{PATIENCE, Stopped, stop};

/// Bytes from which a buffer is asked for before it is made.
const LARGE: usize = 1 << 20;
/// Bytes from which the limits of the system are read: about 0.1 ms.
const VERY_LARGE: usize = 32 << 20;
/// Bytes that stay free beside a large buffer, for small ones.
pub const RESERVE: usize = 64 << 20;

/// `n` times `value`, or the end of the call.
#[must_use]
pub fn filled<T: Clone>(value: T, n: usize) -> Vec<T> {
    require::<T>(n);
    vec![value; n]
}

/// `n` zeros, or the end of the call.
#[must_use]
pub fn zeros(n: usize) -> Vec<f64> {
    filled(0.0, n)
}

/// An empty buffer for `n` values, or the end of the call.
#[must_use]
pub fn buffer<T>(n: usize) -> Vec<T> {
    require::<T>(n);
    Vec::with_capacity(n)
}

/// A copy of `values`, or the end of the call.
#[must_use]
pub fn copied<T: Clone>(values: &[T]) -> Vec<T> {
    require::<T>(values.len());
    values.to_vec()
}

/// Room for `more` values, or the end of the call; as much again if the buffer has to move.
#[inline]
pub fn grow<T>(values: &mut Vec<T>, more: usize) {
    if values.capacity() - values.len() < more {
        let n = more.max(values.len());
        require::<T>(values.len() + n);
        values.reserve(n);
    }
}

/// Adds copies of `more`, or ends the call.
pub fn append<T: Copy>(values: &mut Vec<T>, more: &[T]) {
    grow(values, more.len());
    values.extend_from_slice(more);
}

/// Makes `values` `n` long with zeros at its end, or ends the call.
pub fn lengthen(values: &mut Vec<f64>, n: usize) {
    grow(values, n.saturating_sub(values.len()));
    values.resize(n, 0.0);
}

/// Ends the call if `n` values and the reserve cannot be had.
pub fn require<T>(n: usize) {
    let needed = n.saturating_mul(size_of::<T>());
    if needed < LARGE {
        return;
    }
    let mut probe = Vec::<u8>::new();
    let there = probe.try_reserve_exact(needed.saturating_add(RESERVE)).is_ok();
    let left = if there && needed < VERY_LARGE { f64::INFINITY } else { left() };
    if !there || left < (needed + RESERVE) as f64 {
        stop(Stopped::OutOfMemory { needed, left });
    }
}

thread_local! {
    /// When this thread last saw that there is room for what is small.
    static SEEN: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Ends the call if there is no room for small buffers, which are not asked for one by one.
pub fn require_reserve() {
    if SEEN.get().is_some_and(|at| at.elapsed() < PATIENCE) {
        return;
    }
    let mut probe = Vec::<u8>::new();
    if probe.try_reserve_exact(RESERVE).is_err() {
        stop(Stopped::OutOfMemory { needed: 0, left: left() });
    }
    SEEN.set(Some(Instant::now()));
}

/// Bytes that this process may still take: the least that the limits of its addresses and data, its
/// control groups and the machine leave; infinite where the system does not say.
#[must_use]
pub fn left() -> f64 {
    let read = |path: &Path| fs::read_to_string(path).unwrap_or_default();
    let process = Path::new("/proc/self");
    let status = read(&process.join("status"));
    let limits = read(&process.join("limits"));
    let by_limits = left_by_limits(&limits, &status);
    let by_machine = kilobytes(&read(Path::new("/proc/meminfo")), "MemAvailable:");
    let groups = control_groups(&read(&process.join("cgroup")), Path::new("/sys/fs/cgroup"));
    let by_groups = groups.iter().filter_map(|group| left_in_group(group, &read));
    by_groups.chain(by_machine).fold(by_limits, f64::min).max(0.0)
}

/// What `RLIMIT_AS` and `RLIMIT_DATA` leave, from `/proc/self/limits` and `status`.
fn left_by_limits(limits: &str, status: &str) -> f64 {
    let soft = |name: &str| -> Option<f64> {
        let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    };
    let pair = |limit: &str, used: &str| Some(soft(limit)? - kilobytes(status, used)?);
    let space = pair("Max address space", "VmSize:");
    let data = pair("Max data size", "VmData:");
    space.into_iter().chain(data).fold(f64::INFINITY, f64::min)
}

/// The bytes of a line such as `MemAvailable:  1234 kB`.
fn kilobytes(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse::<f64>().ok().map(|n| n * 1024.0)
}

/// Folders of the control groups that hold this process and of those around them, by version 1 or 2.
fn control_groups(listing: &str, root: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for line in listing.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let top = match controllers {
            "" => root.to_path_buf(),
            _ if controllers.split(',').any(|c| c == "memory") => root.join("memory"),
            _ => continue,
        };
        let within = Path::new(path.trim_start_matches('/'));
        out.extend(within.ancestors().map(|folder| top.join(folder)));
    }
    out
}

/// What a control group leaves; pages of files that it holds can be had back.
fn left_in_group(group: &Path, read: &impl Fn(&Path) -> String) -> Option<f64> {
    let number = |name: &str| read(&group.join(name)).trim().parse::<f64>().ok();
    let limit = number("memory.max").or_else(|| number("memory.limit_in_bytes"))?;
    let used = number("memory.current").or_else(|| number("memory.usage_in_bytes"))?;
    let counts = read(&group.join("memory.stat"));
    let files = ["total_inactive_file", "inactive_file"].iter().find_map(|name| {
        let line = counts.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
        line.trim().parse::<f64>().ok()
    });
    Some(limit - (used - files.unwrap_or(0.0)).max(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_leave_what_is_not_used() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units\n\
                      Max data size             unlimited            unlimited            bytes\n\
                      Max address space         1000000000           unlimited            bytes\n";
        let status = "VmPeak:\t  900000 kB\nVmSize:\t  500000 kB\nVmData:\t  100 kB\n";
        assert!((left_by_limits(limits, status) - (1e9 - 512e6)).abs() < 1.0);
        assert!(left_by_limits("", "").is_infinite());
    }

    #[test]
    fn groups_of_both_versions_and_those_around_them_are_found() {
        let root = Path::new("/r");
        let both = "5:cpu,memory:/a/b\n4:cpu:/x\n0::/c\n";
        let wanted = ["/r/memory/a/b", "/r/memory/a", "/r/memory/", "/r/c", "/r/"];
        assert_eq!(control_groups(both, root), wanted.map(PathBuf::from));
    }

    #[test]
    fn a_group_leaves_its_limit_less_what_is_held() {
        let version_2 = |path: &Path| match path.to_str() {
            Some("/g/memory.max") => "1000\n".into(),
            Some("/g/memory.current") => "700\n".into(),
            Some("/g/memory.stat") => "anon 500\ninactive_file 150\n".into(),
            _ => String::new(),
        };
        assert_eq!(left_in_group(Path::new("/g"), &version_2), Some(450.0));
        let version_1 = |path: &Path| match path.to_str() {
            Some("/g/memory.limit_in_bytes") => "1000\n".into(),
            Some("/g/memory.usage_in_bytes") => "700\n".into(),
            Some("/g/memory.stat") => "inactive_file 1\ntotal_inactive_file 100\n".into(),
            _ => String::new(),
        };
        assert_eq!(left_in_group(Path::new("/g"), &version_1), Some(400.0));
        let unlimited =
            |path: &Path| if path.ends_with("memory.max") { "max".into() } else { String::new() };
        assert_eq!(left_in_group(Path::new("/g"), &unlimited), None);
    }

    #[test]
    fn a_buffer_that_cannot_be_had_ends_the_call() {
        let payload = std::panic::catch_unwind(|| zeros(1 << 55)).expect_err("too large");
        let why = payload.downcast_ref::<Stopped>().expect("not a panic");
        assert!(matches!(why, Stopped::OutOfMemory { needed, .. } if *needed == 1 << 58));
        assert_eq!(zeros(3), [0.0; 3]);
    }
}
