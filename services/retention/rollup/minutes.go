package rollup

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// Minutes are stored of the metrics of which an hour of a device has more values than fastPerHour, five a minute, in the
// mean over the day's hours; those that had theirs stored the day before may fall to stillPerHour, four a minute. What is
// stored of a day stays so, so a metric changes once a day at most. The mean is what a minute stands for: below five, the
// stored row would not be worth the values that need not be read.
const (
	fastPerHour  = 300
	stillPerHour = 240
)

// ofDay is a metric on a day.
type ofDay struct {
	metric string
	day    int64
}

// minutes stores what changed of some days' minutes, one day after another: the hours that are dirty of metrics that are
// stored already, and the whole day when there is a new one. Which are stored is replaced in one with the minutes, so
// that a pass may die anywhere.
func (r *Rollup) minutes(ctx context.Context, tables []wide, dirty hours, days []int64, limit int64) error {
	until, err := r.storedMinutes(ctx, days)
	if err != nil {
		return err
	}
	metrics, err := r.fast(ctx, days, until, limit)
	if err != nil {
		return err
	}
	for _, day := range days {
		names := metrics[day]
		if day == (limit-1)/hoursPerDay {
			r.metrics.fast.Set(float64(len(names)))
		}
		if len(names) == 0 {
			continue
		}
		first, last := day*hoursPerDay, min(limit, (day+1)*hoursPerDay)
		again := hours{day: dirty[day]}
		for _, metric := range names {
			stored, found := until[ofDay{metric, day}]
			if !found {
				stored = first
			}
			again.add(stored, last-1, limit)
		}
		mark := fmt.Sprintf("INSERT INTO %s (metric, device, minute, until)%s SELECT '', arrayJoin([%s]), toDateTime(%d, 'UTC'), toDateTime(%d, 'UTC')",
			r.table(minutely.staging), computeSettings, literals(names), first*3600, last*3600)
		if err := r.replace(ctx, minutely, again, []int64{day}, r.computeSQL(minutely, tables, again, []int64{day}, names), mark); err != nil {
			return fmt.Errorf("minutes of %s: %w", dateOf(day), err)
		}
	}
	return nil
}

// storedMinutes says up to which hour the minutes of which metrics are stored, of some days and those before them.
func (r *Rollup) storedMinutes(ctx context.Context, days []int64) (map[ofDay]int64, error) {
	wanted := slices.Clone(days)
	for _, day := range days {
		wanted = append(wanted, day-1)
	}
	rows, err := r.store.Conn().Query(ctx, fmt.Sprintf("SELECT device, toUnixTimestamp(minute), toUnixTimestamp(until) FROM %s WHERE metric = '' AND toYYYYMMDD(minute) IN (%s)",
		r.table(minutely.stored), strings.Join(dates(wanted), ", ")))
	if err != nil {
		return nil, fmt.Errorf("ask which minutes are stored: %w", err)
	}
	defer rows.Close()
	stored := map[ofDay]int64{}
	for rows.Next() {
		var metric string
		var first, until uint32
		if err := rows.Scan(&metric, &first, &until); err != nil {
			return nil, fmt.Errorf("ask which minutes are stored: %w", err)
		}
		stored[ofDay{metric, int64(first) / 86400}] = int64(until) / 3600
	}
	return stored, rows.Err()
}

// fast names the metrics whose minutes are to be stored, of each day: those that are stored, and of the last month's days
// those that the hours say are worth it. Days further back are those of imports, in which nobody looks at minutes.
func (r *Rollup) fast(ctx context.Context, days []int64, stored map[ofDay]int64, limit int64) (map[int64][]string, error) {
	metrics := map[int64][]string{}
	for at := range stored {
		if slices.Contains(days, at.day) {
			metrics[at.day] = append(metrics[at.day], at.metric)
		}
	}
	rows, err := r.store.Conn().Query(ctx, fmt.Sprintf("SELECT metric, toYYYYMMDD(hour) AS day, sum(n) AS held, count() AS counted FROM %s WHERE toYYYYMMDD(hour) IN (%s) GROUP BY metric, day HAVING held > %d * counted",
		r.table(hourly.stored), strings.Join(dates(days), ", "), stillPerHour))
	if err != nil {
		return nil, fmt.Errorf("ask which metrics are fast: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var at ofDay
		var date uint32
		var values, hours uint64
		if err := rows.Scan(&at.metric, &date, &values, &hours); err != nil {
			return nil, fmt.Errorf("ask which metrics are fast: %w", err)
		}
		at.day = dayOf(date)
		_, before := stored[ofDay{at.metric, at.day - 1}]
		_, already := stored[at]
		if !already && at.day >= limit/hoursPerDay-recentDays && (before || values > fastPerHour*hours) {
			metrics[at.day] = append(metrics[at.day], at.metric)
		}
	}
	for _, names := range metrics {
		slices.Sort(names)
	}
	return metrics, rows.Err()
}

func literals(texts []string) string {
	out := make([]string, len(texts))
	for i, text := range texts {
		out[i] = literal(text)
	}
	return strings.Join(out, ", ")
}
