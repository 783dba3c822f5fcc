package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"time"
)

func measureFootprint(ctx context.Context, o options, r *report) (err error) {
	n := o.users
	if n == 0 {
		n = 10000
	}
	info, err := os.Stat(o.bin)
	if err != nil {
		return err
	}
	r.row("size of the program", "", mib(info.Size()), "", "≤ 60 MB", info.Size() <= 60<<20)
	var version []time.Duration
	for range 11 {
		begin := time.Now()
		if err := exec.CommandContext(ctx, o.bin, "version").Run(); err != nil {
			return err
		}
		version = append(version, time.Since(begin))
	}
	took := quantile(version, .5)
	r.row("version", "", ms(took), "", "≤ 30 ms", took <= 30*time.Millisecond)
	in, _, _, err := furnishPeople(ctx, n)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.remove()) }()
	var starts []time.Duration
	var resident int64
	for range 5 {
		p, err := in.serve(ctx, o.bin, false)
		if err != nil {
			return err
		}
		starts = append(starts, p.up.Sub(p.began))
		if len(starts) == 1 {
			// What starting needed is given back, or stays: idle is some seconds later.
			if err := sleep(ctx, 10*time.Second); err != nil {
				return errors.Join(err, p.kill())
			}
			resident, _ = p.memory()
		}
		if err := p.stop(); err != nil {
			return err
		}
	}
	median := quantile(starts, .5)
	r.note("%d people", n)
	r.row("start to first answer, median of 5", "", ms(median), "", "≤ 1 s", median <= time.Second)
	limit := int64(100 << 20)
	words := "≤ 100 MB"
	if n > 10000 {
		limit, words = 512<<20, "≤ 512 MB"
	}
	r.row("resident, idle", "", mib(resident), "", words, resident <= limit)
	return nil
}
