//! Tables of the connection maker.
