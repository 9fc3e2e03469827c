//! The order of elimination of a sparse A, and how many nonzeros each column of its factor has.

use super::graph::Graph;
use crate::crossed::rest::Rest;

/// No parent.
const ROOT: u32 = u32::MAX;

/// Units in the order of their elimination, every subtree of the elimination tree in one stretch.
pub struct EliminationTree {
    /// Unit eliminated at each place.
    pub order: Vec<u32>,
    /// Place of each unit.
    pub place_of: Vec<u32>,
    /// By place, the first place below the diagonal of its column; `u32::MAX` without one.
    pub parent: Vec<u32>,
    /// By place, rows of its column of the factor, its own included.
    pub height: Vec<usize>,
}

impl EliminationTree {
    /// `None` where the factor has more than `limit` entries.
    pub fn new(rest: &Rest, graph: &Graph, limit: f64) -> Option<Self> {
        let order = graph.order()?;
        let place_of = inverse(&order);
        let parent = parents(graph, &order, &place_of);
        let height = heights(rest, graph, &order, &place_of, &parent, limit)?;
        // From the fill-reducing order to an equivalent one in which a subtree is a stretch.
        let post = postorder(&parent, &height);
        let renumbered = inverse(&post);
        let order: Vec<u32> = post.iter().map(|p| order[*p as usize]).collect();
        let moved = |p: u32| if p == ROOT { ROOT } else { renumbered[p as usize] };
        Some(Self {
            place_of: inverse(&order),
            parent: post.iter().map(|p| moved(parent[*p as usize])).collect(),
            height: post.iter().map(|p| height[*p as usize]).collect(),
            order,
        })
    }
}

fn inverse(order: &[u32]) -> Vec<u32> {
    let mut out = vec![0; order.len()];
    for (place, unit) in order.iter().enumerate() {
        out[*unit as usize] = place as u32;
    }
    out
}

/// The elimination tree (Liu 1990, SIAM J. Matrix Anal. Appl. 11, 134), with path compression.
fn parents(graph: &Graph, order: &[u32], place_of: &[u32]) -> Vec<u32> {
    let n = order.len();
    let (mut parent, mut ancestor) = (vec![ROOT; n], vec![ROOT; n]);
    for (i, unit) in order.iter().enumerate() {
        for other in graph.of(*unit as usize) {
            let mut k = place_of[*other as usize] as usize;
            while k < i {
                let next = ancestor[k];
                ancestor[k] = i as u32;
                if next == ROOT {
                    parent[k] = i as u32;
                    break;
                }
                k = next as usize;
            }
        }
    }
    parent
}

/// Rows of each column: row i has a nonzero in the columns on the paths from its neighbours to i.
fn heights(
    rest: &Rest,
    graph: &Graph,
    order: &[u32],
    place_of: &[u32],
    parent: &[u32],
    limit: f64,
) -> Option<Vec<usize>> {
    let n = order.len();
    let size: Vec<usize> = order.iter().map(|b| rest.columns_of(*b as usize).len()).collect();
    let mut height = size.clone();
    let mut mark = vec![ROOT; n];
    let mut entries = 0.0;
    for i in 0..n {
        mark[i] = i as u32;
        for other in graph.of(order[i] as usize) {
            let mut k = place_of[*other as usize] as usize;
            while k < i && mark[k] != i as u32 {
                mark[k] = i as u32;
                height[k] += size[i];
                entries += (size[i] * size[k]) as f64;
                k = parent[k] as usize;
            }
        }
        if entries > limit {
            return None;
        }
    }
    Some(height)
}

/// Places with every child before its parent, the child of the tallest column last.
fn postorder(parent: &[u32], height: &[usize]) -> Vec<u32> {
    let n = parent.len();
    let mut children: Vec<u32> = (0..n as u32).collect();
    // Stable, so that equal ones keep the order of their places.
    children.sort_by_key(|c| (parent[*c as usize], height[*c as usize]));
    let mut first = vec![0_usize; n + 2];
    for p in parent {
        first[if *p == ROOT { n } else { *p as usize } + 1] += 1;
    }
    for p in 0..=n {
        first[p + 1] += first[p];
    }
    let mut out = Vec::with_capacity(n);
    let mut stack: Vec<(u32, bool)> =
        children[first[n]..].iter().rev().map(|c| (*c, false)).collect();
    while let Some((node, done)) = stack.pop() {
        if done {
            out.push(node);
            continue;
        }
        stack.push((node, true));
        let own = first[node as usize]..first[node as usize + 1];
        stack.extend(children[own].iter().rev().map(|c| (*c, false)));
    }
    out
}
