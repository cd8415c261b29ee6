/* SPDX-License-Identifier: Apache-2.0
 *
 * What the engine notes about one task that has ended: enough for a trace, for the overlap of compute and
 * collectives, and for the share that the runtime itself costs. */
#ifndef OCTANT_RECORD_H
#define OCTANT_RECORD_H

#include <stdbool.h>
#include <stdint.h>

struct task_record {
	double start_s, end_s; /* since the run's start */
	uint64_t devices;      /* bit d: device d (its number in the description) takes part; a collective has several */
	int64_t micro_batch;   /* its number, −1: none */
	int32_t layer;         /* −1: none */
	uint32_t kind;         /* index into the table of kinds */
	int16_t worker;        /* who ran it, −1: nobody (an event) */
	uint8_t phase;         /* enum phase of batch.h */
	bool collective;       /* moves data between devices; else compute */
};

#endif
