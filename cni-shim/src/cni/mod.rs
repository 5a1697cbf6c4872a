//! The CNI plugin `weft-net`.
