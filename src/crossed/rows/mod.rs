//! The pass over the rows of a crossed design.
//!
//! The leading factor's columns of each unit are `Z_u` = `Q_u` `T_u`. What the iterations need of the
//! rows is `T_u`, `N_u` = `Q_u`'`Z_2` (`Z_2` the columns of the other factors), `D_u` = `Q_u`'[X y], and the
//! cross-products of what Q does not span. The rows outside the span are taken as residuals, not
//! as differences of cross-products, so no digits are lost to large units.

pub mod gram;
pub mod reader;
pub mod reduce;
pub mod units;
