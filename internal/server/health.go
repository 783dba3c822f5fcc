package server

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/latchkey-idp/latchkey/internal/access"
)

// provisioningCollector tells whether provisioning of each application lives, read when metrics are read.
type provisioningCollector struct {
	house                                                               *House
	state, waiting, parked, oldest, left, speed, finish, answered, dead *prometheus.Desc
	failures, token, requests, finished, open, overdue                  *prometheus.Desc
}

func newProvisioningCollector(h *House) *provisioningCollector {
	d := func(name, help string, more ...string) *prometheus.Desc {
		return prometheus.NewDesc("latchkey_provisioning_"+name, help, append([]string{"application", "label"}, more...), nil)
	}
	return &provisioningCollector{
		house:    h,
		state:    d("state", "1 for the state that provisioning is in.", "state"),
		waiting:  d("waiting", "People and groups with something to be sent."),
		parked:   d("parked", "People and groups that need a person."),
		oldest:   d("oldest_waiting_seconds", "How long the first of what waits has been waiting."),
		left:     d("budget_left", "Requests that could be sent at once now; missing without a limit."),
		speed:    d("objects_per_second", "People and groups that came to rest, on the average of the last five minutes."),
		finish:   d("finish_seconds", "Predicted time until nothing waits; missing if it isn't known."),
		answered: d("last_good_answer_timestamp_seconds", "When the target last answered well; missing if it never did."),
		dead:     d("silent", "1 while it is told that the target gives no good answer though changes wait."),
		failures: d("failures_in_a_row", "Failures of the target as a whole since its last good answer."),
		token:    d("token_expires_timestamp_seconds", "When the token ends; missing if that isn't known."),
		requests: d("requests_total", "Requests that this replica sent, by how the target as a whole answered: good or bad.", "answer"),
		finished: d("objects_total", "People and groups that this replica brought to rest."),
		open:     d("receipts_open", "Accounts of people who left that aren't proved to be off."),
		overdue:  d("receipts_overdue", "The same, for longer than the setting allows."),
	}
}

func (c *provisioningCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		c.state, c.waiting, c.parked, c.oldest, c.left, c.speed, c.finish, c.answered, c.dead, c.failures, c.token, c.requests, c.finished, c.open, c.overdue,
	} {
		ch <- d
	}
}

func (c *provisioningCollector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	all, err := c.house.Engine.Vitals(ctx, access.SystemActor(""))
	if err != nil {
		c.house.Log.Error("metrics of provisioning", "error", err)
		return
	}
	now := c.house.Now()
	for _, v := range all {
		send := func(d *prometheus.Desc, kind prometheus.ValueType, value float64, more ...string) {
			ch <- prometheus.MustNewConstMetric(d, kind, value, append([]string{string(v.ID), v.Label}, more...)...)
		}
		gauge := func(d *prometheus.Desc, value float64, more ...string) {
			send(d, prometheus.GaugeValue, value, more...)
		}
		at := func(d *prometheus.Desc, t time.Time) {
			if !t.IsZero() {
				gauge(d, float64(t.UnixMilli())/1000)
			}
		}
		gauge(c.state, 1, string(v.State))
		gauge(c.waiting, float64(v.Waiting))
		gauge(c.parked, float64(v.Parked))
		gauge(c.oldest, v.OldestSeconds)
		if v.Budget.Limited {
			gauge(c.left, float64(v.Budget.Left))
		}
		gauge(c.speed, v.ObjectsPerSecond)
		if !v.FinishAt.IsZero() {
			gauge(c.finish, max(0, v.FinishAt.Sub(now).Seconds()))
		}
		at(c.answered, v.LastAnswer)
		silent := 0.0
		if !v.SilentSince.IsZero() {
			silent = 1
		}
		gauge(c.dead, silent)
		gauge(c.failures, float64(v.Failures))
		at(c.token, v.TokenExpiresAt)
		send(c.requests, prometheus.CounterValue, float64(v.Good), "good")
		send(c.requests, prometheus.CounterValue, float64(v.Bad), "bad")
		send(c.finished, prometheus.CounterValue, float64(v.Finished))
		gauge(c.open, float64(v.Receipts.Open))
		gauge(c.overdue, float64(v.Receipts.Overdue))
	}
}
