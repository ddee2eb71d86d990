//! The macros every query is written with.

/// One statement, once for both stores: `fetch_all!(tx, "SELECT …", bind, bind)`.
macro_rules! statement {
    ($tx:expr, $make:ident, $finish:ident, $map:expr, $sql:expr $(, $bind:expr)* $(,)?) => {
        match $tx {
            $crate::store::Tx::Sqlite(t) => {
                static TEXT: std::sync::OnceLock<String> = std::sync::OnceLock::new();
                let sql = TEXT.get_or_init(|| $crate::store::sqlite_text($sql)).as_str();
                sqlx::$make(sql)$(.bind($bind))*.$finish(&mut **t).await.map($map).map_err($crate::store::Error::from)
            }
            $crate::store::Tx::Postgres(t) => {
                static TEXT: std::sync::OnceLock<String> = std::sync::OnceLock::new();
                let sql = TEXT.get_or_init(|| $crate::store::postgres_text($sql)).as_str();
                $crate::store::bounded(sqlx::$make(sql)$(.bind($bind))*.$finish(&mut **t)).await.map($map).map_err($crate::store::Error::from)
            }
        }
    };
}
macro_rules! fetch_all { ($tx:expr, $($rest:tt)*) => { $crate::store::statement!($tx, query_as, fetch_all, |rows| rows, $($rest)*) } }
macro_rules! fetch_one { ($tx:expr, $($rest:tt)*) => { $crate::store::statement!($tx, query_as, fetch_one, |rows| rows, $($rest)*) } }
macro_rules! fetch_optional { ($tx:expr, $($rest:tt)*) => { $crate::store::statement!($tx, query_as, fetch_optional, |rows| rows, $($rest)*) } }
/// As `fetch_all!` and `fetch_one!`, of one column.
macro_rules! fetch_values { ($tx:expr, $($rest:tt)*) => { $crate::store::statement!($tx, query_scalar, fetch_all, |rows| rows, $($rest)*) } }
macro_rules! fetch_value { ($tx:expr, $($rest:tt)*) => { $crate::store::statement!($tx, query_scalar, fetch_one, |rows| rows, $($rest)*) } }
/// Answers the number of rows it changed.
macro_rules! execute { ($tx:expr, $($rest:tt)*) => { $crate::store::statement!($tx, query, execute, |done| done.rows_affected(), $($rest)*) } }
pub(crate) use {execute, fetch_all, fetch_one, fetch_optional, fetch_value, fetch_values, statement};
