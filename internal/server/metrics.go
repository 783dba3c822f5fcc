package server

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/latchkey-idp/latchkey/internal/store"
)

// workCollector tells how much work waits, read when metrics are read.
type workCollector struct {
	house   *House
	waiting *prometheus.Desc
	parked  *prometheus.Desc
	oldest  *prometheus.Desc
	outbox  *prometheus.Desc
}

func newWorkCollector(h *House) *workCollector {
	return &workCollector{
		house:   h,
		waiting: prometheus.NewDesc("latchkey_lanes_waiting", "Lanes with work to do.", []string{"kind"}, nil),
		parked:  prometheus.NewDesc("latchkey_lanes_parked", "Lanes that need a person.", []string{"kind"}, nil),
		oldest:  prometheus.NewDesc("latchkey_lanes_oldest_seconds", "How long the oldest waiting lane has been waiting.", []string{"kind"}, nil),
		outbox:  prometheus.NewDesc("latchkey_outbox_rows", "Changes not dispatched yet.", nil, nil),
	}
}

func (c *workCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- c.waiting
	ch <- c.parked
	ch <- c.oldest
	ch <- c.outbox
}

func (c *workCollector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	type row struct {
		kind            string
		waiting, parked float64
		since           int64
	}
	now := c.house.Now()
	err := c.house.DB.View(ctx, func(tx *store.Tx) error {
		rows, err := store.All(tx, func(r store.Row) (row, error) {
			var x row
			err := r.Scan(&x.kind, &x.waiting, &x.parked, &x.since)
			return x, err
		}, `SELECT kind, SUM(CASE WHEN parked THEN 0 ELSE 1 END), SUM(CASE WHEN parked THEN 1 ELSE 0 END), MIN(since)
			FROM lanes WHERE wanted > synced AND (parked OR due_at <= $1) GROUP BY kind`, store.Micros(now))
		if err != nil {
			return err
		}
		n, err := store.One(tx, store.Scalar[float64], `SELECT count(*) FROM outbox`)
		if err != nil {
			return err
		}
		ch <- prometheus.MustNewConstMetric(c.outbox, prometheus.GaugeValue, n)
		for _, x := range rows {
			ch <- prometheus.MustNewConstMetric(c.waiting, prometheus.GaugeValue, x.waiting, x.kind)
			ch <- prometheus.MustNewConstMetric(c.parked, prometheus.GaugeValue, x.parked, x.kind)
			ch <- prometheus.MustNewConstMetric(c.oldest, prometheus.GaugeValue, now.Sub(store.FromMicros(x.since)).Seconds(), x.kind)
		}
		return nil
	})
	if err != nil {
		c.house.Log.Error("metrics of work", "error", err)
	}
}
