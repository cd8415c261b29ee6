/* SPDX-License-Identifier: Apache-2.0
 *
 * How many rows of a micro-batch each expert gets, where no router says: drawn from a distribution, or replayed from
 * what a run recorded. It fills micro_batch.routed, [layers][experts], before the micro-batch is submitted.
 *
 *   balanced    each expert rows · top_k / experts, what remains to the first ones by turns
 *   zipf        popularity of the expert of rank i ∝ 1 / i^exponent (Zipf); exponent 0 is even, 1 the classical law
 *   power_law   popularities drawn from a Pareto distribution of shape `exponent`, u^(−1/exponent): a few are large and most
 *               alike; smaller exponents are less even
 *   replay      counts of the recording's micro-batches of the same phase in their order, scaled to the rows; begun anew
 *               when they are used up
 *
 * Which expert has which rank differs by layer (a permutation by the seed). A row visits top_k different experts, so that
 * no expert gets more rows than there are; what is beyond goes to the others by their popularity. Counts are the expected
 * ones, rounded so that they add up (largest remainders): seeds decide popularities, not noise.
 *
 * A capacity factor f limits each expert to ceil(f · rows · top_k / experts) rows; what is beyond is dropped and counted. */
#ifndef OCTANT_ROUTING_H
#define OCTANT_ROUTING_H

#include "runtime/batch.h"
#include "runtime/error.h"
#include "runtime/model.h"

enum routing_kind { ROUTING_BALANCED, ROUTING_ZIPF, ROUTING_POWER_LAW, ROUTING_REPLAY };

struct routing_options {
	enum routing_kind kind;
	double exponent;  /* of zipf and power_law */
	const char *path; /* of replay: routing.jsonl */
	uint64_t seed;
	double capacity;  /* factor; 0: none */
};

struct routing;

/* "balanced", "zipf:1.2", "power_law:2", "replay:FILE" (`text` must outlive the options). Errors: ERROR_INPUT. */
int routing_parse(const char *text, struct routing_options *options, struct error *error);

/* Errors: ERROR_INPUT for a recording that is not one, or of another model; ERROR_MEMORY. A model without experts is
 * refused. */
int routing_create(const struct routing_options *options, const struct model *model, struct routing **routing,
	struct error *error);
void routing_destroy(struct routing *routing); /* accepts NULL */

/* Counts for `rows` rows of phase `phase`: count, [layers][experts], of dense layers 0. */
void routing_count(struct routing *routing, int rows, enum phase phase, int32_t *count);

/* The same for a micro-batch whose `routed` is there (batcher_options.record_routing). */
void routing_fill(struct routing *routing, struct micro_batch *micro_batch);

/* Over all counts so far: rows dropped / rows routed, and the mean over layers of largest / mean load (1: even). */
double routing_dropped(const struct routing *routing);
double routing_imbalance(const struct routing *routing);
const int64_t *routing_load(const struct routing *routing); /* [layers][experts] */

#endif
