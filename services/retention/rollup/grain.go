package rollup

// grain is a length of buckets: an hour or a minute. Both are computed from the same raw rows by the same statements.
type grain struct {
	stored, staging string
	bucket          string // the column of the time at which a bucket begins
	start           string // the function that finds it
	days            string // how system.parts writes the day of a partition
}

var (
	hourly   = grain{stored: "samples_1h", staging: "samples_1h_staging", bucket: "hour", start: "toStartOfHour", days: `(\\d{8})\\)$`}
	minutely = grain{stored: "samples_1m_stored", staging: "samples_1m_staging", bucket: "minute", start: "toStartOfMinute", days: `^(\\d{8})$`}
)

func (g grain) columns() string {
	return "class, metric, device, " + g.bucket + ", n, sum, min, max, last"
}
