// Package spend tells when what a cohort or one of its metrics sends leaves its forecast, and what that will cost.
//
// A Meter, in a shard, counts values and bytes of each cohort and of each of its metrics by the hour. Forecasts, in the
// judge, knows what each hour of the week usually brings, and holds the hour so far against it each ten minutes. Both are
// pure functions of what they are told, and bounded: names beyond the limit are counted together.
package spend
