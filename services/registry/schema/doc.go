// Package schema gives metrics their columns: what devices report and no column takes lies in the overflow table; what is
// seen there often enough gets a column in the wide table of its profile.
//
// In: rows that are new in the overflow table, and the profiles as the registry knows them. Out: the column, then the
// MetricAdded event that tells the sinks. In that order, so that no sink ever meets a column that is not there; a crash
// between the two leaves a column that nobody uses, and the next look adopts it as it is.
//
// Never promoted: what has been one thing and then another (text and numbers), text of many values, whole numbers too
// large for their scale, and what is beyond the limits of a profile. It stays readable where it is.
//
// It only ever acts through the registry's writer, which is fenced: one that lost its place may at worst add a column.
package schema
