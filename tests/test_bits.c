/* SPDX-License-Identifier: Apache-2.0
 *
 * The bit gate: a sequence has the same tokens and the same bits of log-probability whatever the scheduler, the
 * workers, the grain, the slots, the steps ahead, the chunks, the pages, the company and preemptions.
 *
 * What may change bits is a case's identity: model, mesh, chain, compute and KV type. Everything else is a variant.
 * For each identity a plain run (homes, one worker, one slot, one sequence after the other) gives the reference; then
 * each case runs as its variant says and is compared bit for bit. The cases are a table in which every two values of
 * any two factors meet (tests/pairs.h), run by what needs a start of StarPU of its own.
 *
 * The micro-batches that a run forms are no matter of time either: the reference's answers are enough to tell them
 * beforehand, which says how small a pool must be for a preemption to happen, and how many rows there will be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "tests/golden_cases.h"
#include "tests/model_run.h"
#include "tests/pairs.h"
#include "tests/scratch.h"

enum factor {
	MODEL, MESHES, CHAIN, NUMBERS, /* the identity */
	POLICY, WORKERS, GRAIN, SLOTS, AHEAD, CHUNK_ROWS, CHUNKS, DECODES, INTERLEAVE, COMPANY, POOL, PAGE,
	FACTORS
};
enum { IDENTITY = NUMBERS + 1 };

#define COUNT(array) ((int) (sizeof(array) / sizeof *(array)))

static const char *const models[] = { "mixtral", "mixtral16", "mixtral_fp16", "olmoe", "olmoe_clip", "qwen2_moe",
	"qwen2_moe_norm", "qwen3_moe", "qwen3_moe_sparse", "llama", "llama_bias", "qwen2", "qwen3" };

static const struct mesh_choice {
	const char *name;
	const char *set[3];
	int groups; /* of attention, each with a pool of pages */
	int devices;
} meshes[] = {
#define CHOICE(t, e, p, groups, devices) { #t "×" #e "×" #p, { MESH(t, e, p) }, groups, devices }
	CHOICE(1, 1, 1, 1, 1), CHOICE(2, 1, 1, 1, 2), CHOICE(1, 2, 1, 2, 2), CHOICE(1, 1, 2, 1, 2), CHOICE(2, 2, 1, 1, 2),
	CHOICE(2, 2, 2, 1, 4), CHOICE(4, 2, 1, 1, 4), CHOICE(1, 4, 1, 4, 4), CHOICE(2, 4, 2, 2, 8), CHOICE(2, 2, 4, 1, 8),
	CHOICE(3, 2, 1, 1, 6),
#undef CHOICE
};

#define DENSE_SCATTER "dense_layer=( { task = \"attention\"; over = \"tensor\"; }, " \
	"{ task = \"reduce_scatter\"; over = \"tensor\"; }, { task = \"all_gather\"; over = \"tensor\"; }, { task = \"mlp\"; }, " \
	"{ task = \"reduce_scatter\"; over = \"experts\"; }, { task = \"all_gather\"; over = \"tensor\"; } )"

static const struct chain_choice {
	const char *name;
	const char *set[4];
} chains[] = {
	{ "default", { NULL } },
	{ "all_to_all", { A2A } },
	{ "local", { LOCAL, DENSE_SCATTER } },
	{ "local scattered, shards sent", { LOCAL_SCATTER, DENSE_SCATTER, SEND_SHARDS } },
	{ "all_to_all, shards sent", { A2A, DENSE_SCATTER, SEND_SHARDS } },
};

static const struct {
	const char *compute, *kv;
} numbers[] = { { "fp32", "fp32" }, { "bf16", "fp16" }, { "fp32", "fp16" }, { "bf16", "bf16" },
	{ "int8", "fp16" } };

static const char *const policies[] = { "homes", "eager", "prio", "ws", "lws", "dm", "dmda", "dmdas" };
static const char *const grains[] = { "task", "device", "auto" };
static const int chunk_rows[] = { 7, 16, 33, 64, 200, 4096 };
static const int chunks[] = { 0, 1, 3 }; /* an iteration; 0: one a stage */
static const char *const interleaves[] = { "chunked", "mixed", "prefill_first" };
static const int page_tokens[] = { 16, 8, 5, 32 };
enum { PAGE_LARGEST = COUNT(page_tokens) - 1 };

static const struct {
	int sequences, seats;
} companies[] = { { 1, 1 }, { 8, 1 }, { 8, 3 }, { 13, 13 }, { 128, 128 }, { 128, 40 } };

enum { POOL_AMPLE, POOL_TIGHT, POOLS };

static const struct pairs factors = {
	.factors = FACTORS,
	.values = { [MODEL] = COUNT(models), [MESHES] = COUNT(meshes), [CHAIN] = COUNT(chains), [NUMBERS] = COUNT(numbers),
		[POLICY] = COUNT(policies), [WORKERS] = 2, [GRAIN] = COUNT(grains), [SLOTS] = 8, [AHEAD] = 4, [CHUNK_ROWS] = COUNT(chunk_rows),
		[CHUNKS] = COUNT(chunks), [DECODES] = 4, [INTERLEAVE] = COUNT(interleaves), [COMPANY] = COUNT(companies),
		[POOL] = POOLS, [PAGE] = COUNT(page_tokens) },
};

/* ---- sequences: each model's golden prompts, and beginnings of them; greedy and sampled, with and without end
 * tokens, some with an answer that is long for its prompt, so that it needs many more pages than at its start */

enum { DISTINCT = 24, DISTINCT_LONG = 12, LONG_ANSWERS = 7, MOST_TOKENS = 256 };

static const struct {
	int prompt, tokens, new_tokens;
} parts[DISTINCT - 12] = { { 11, 5, 44 }, { 10, 9, 40 }, { 9, 15, 36 }, { 11, 16, 33 }, { 8, 24, 20 }, { 10, 31, 12 },
	{ 11, 32, 36 }, { 7, 48, 17 }, { 9, 49, 6 }, { 10, 63, 1 }, { 11, 80, 2 }, { 11, 150, 5 } };

static const struct sampling samplings[] = {
	{ .top_p = 1 },
	{ .temperature = 0.7f, .top_p = 0.9f },
	{ .top_p = 1 },
	{ .temperature = 1.3f, .top_p = 1, .top_k = 12 },
	{ .temperature = 1, .top_p = 0.95f, .min_p = 0.05f },
};

static struct golden *golden[COUNT(models)];

static struct sequence distinct_sequence(int model, int which)
{
	const struct golden_prompt *p = &golden[model]->prompt[which < 12 ? which : parts[which - 12].prompt];
	struct sequence sequence = {
		.prompt = p->tokens,
		.prompt_tokens = which < 12 ? p->prompt_tokens : parts[which - 12].tokens,
		.max_new_tokens = which < 12 ? 8 : parts[which - 12].new_tokens,
		.ignore_eos = which % 3,
		.sampling = samplings[which % COUNT(samplings)],
	};
	sequence.sampling.seed = (uint64_t) which * 1000003;
	return sequence;
}

/* ---- cases */

struct identity {
	int value[IDENTITY];
	bool wanted[DISTINCT];
	struct model_run_sequence reference[DISTINCT]; /* where wanted */
	struct identity *next;
};

struct bits_case {
	int value[FACTORS];
	int sequences, which[128]; /* of the distinct ones */
	int64_t pages;
	struct batcher_counters expected;
	struct identity *identity;
};

static struct bits_case *cases;
static int case_count;
static struct identity *identities;
static struct engine *engine;
static bool possible[COUNT(models)][COUNT(meshes)][COUNT(chains)];

static void add_identity(const int *value, const char **set, int *n, char (*text)[64])
{
	for (int i = 0; i < 3; i++)
		set[(*n)++] = meshes[value[MESHES]].set[i];
	for (int i = 0; chains[value[CHAIN]].set[i]; i++)
		set[(*n)++] = chains[value[CHAIN]].set[i];
	snprintf(text[0], sizeof *text, "compute=\"%s\"", numbers[value[NUMBERS]].compute);
	snprintf(text[1], sizeof *text, "kv.dtype=\"%s\"", numbers[value[NUMBERS]].kv);
	snprintf(text[2], sizeof *text, "limits.tokens_per_sequence=%d", MOST_TOKENS);
	for (int i = 0; i < 3; i++)
		set[(*n)++] = text[i];
}

/* Which meshes and chains a model can be cut by: the description's checks say so. */
static void find_possible(void)
{
	char text[3][64];
	for (int m = 0; m < COUNT(models); m++)
		for (int mesh = 0; mesh < COUNT(meshes); mesh++)
			for (int chain = 0; chain < COUNT(chains); chain++) {
				const char *set[16] = { NULL };
				int n = 0;
				add_identity((const int[]){ m, mesh, chain, 0 }, set, &n, text);
				possible[m][mesh][chain] =
					model_run_possible(&(struct model_run){ .directory = golden[m]->directory, .set = set });
			}
}

static bool fits(int chosen, int value)
{
	return chosen < 0 || chosen == value;
}

static bool allowed(const int *row)
{
	bool any = false;
	for (int m = 0; m < COUNT(models) && !any; m++)
		for (int mesh = 0; fits(row[MODEL], m) && mesh < COUNT(meshes) && !any; mesh++)
			for (int chain = 0; fits(row[MESHES], mesh) && chain < COUNT(chains) && !any; chain++)
				any = fits(row[CHAIN], chain) && possible[m][mesh][chain];
	if (!any)
		return false;
	/* … and answers that need more pages than the one that is left over for each */
	if (row[POOL] == POOL_TIGHT && row[PAGE] == PAGE_LARGEST)
		return false;
	int sequences = row[COMPANY] < 0 ? 1 : companies[row[COMPANY]].sequences;
	int seats = row[COMPANY] < 0 ? 128 : companies[row[COMPANY]].seats;
	/* preemption needs company in the same pool */
	if (row[POOL] == POOL_TIGHT && (seats == 1 || (seats < 13 && row[MESHES] >= 0 && meshes[row[MESHES]].groups > 1)))
		return false;
	/* To bound the time: many sequences are not cut into the smallest chunks, and little runs under those policies of
	 * StarPU that hand each task of a chain to another worker, on a machine where that has to wait for a core. */
	bool hands_over = row[POLICY] >= 0 && !strncmp(policies[row[POLICY]], "dm", 2) && row[WORKERS] == 1;
	if (!hands_over)
		return sequences < 128 || row[CHUNK_ROWS] != 0;
	return sequences <= 8 && (row[CHUNK_ROWS] < 0 || chunk_rows[row[CHUNK_ROWS]] >= 64) &&
		(row[MESHES] < 0 || meshes[row[MESHES]].devices <= 2);
}

static struct identity *identity_of(const int *value)
{
	struct identity *i = identities;
	while (i && memcmp(i->value, value, sizeof i->value))
		i = i->next;
	if (i)
		return i;
	i = calloc(1, sizeof *i);
	assert_non_null(i);
	memcpy(i->value, value, sizeof i->value);
	i->next = identities;
	identities = i;
	return i;
}

static void fill_case(struct bits_case *c, const int *row, unsigned long long *random)
{
	memcpy(c->value, row, sizeof c->value);
	c->identity = identity_of(row);
	c->sequences = companies[row[COMPANY]].sequences;
	/* a random order of all that there are, again and again */
	for (int i = 0; i < c->sequences; i++) {
		int first = i / DISTINCT * DISTINCT, at = first + (int) (scratch_random(random) >> 33) % (i - first + 1);
		c->which[i] = c->which[at];
		c->which[at] = i - first;
	}
	/* A few are not always the same few; where the pool is to be tight, most have long answers. */
	int from = (int) (scratch_random(random) >> 33) % DISTINCT;
	for (int i = 0; i < c->sequences; i++)
		if (row[POOL] == POOL_TIGHT && (c->sequences < DISTINCT || i % 3))
			c->which[i] = DISTINCT_LONG + c->which[i] % LONG_ANSWERS;
		else
			c->which[i] = (c->which[i] + from) % DISTINCT;
	for (int i = 0; i < c->sequences; i++)
		c->identity->wanted[c->which[i]] = true;
}

static void make_cases(void)
{
	struct pairs pairs = factors;
	unsigned long long random = 20;
	pairs.allowed = allowed;
	pairs_make(&pairs, 7);
	assert_int_equal(pairs.missing, 0);
	case_count = pairs.rows;
	cases = calloc((size_t) case_count, sizeof *cases);
	assert_non_null(cases);
	for (int i = 0; i < case_count; i++)
		fill_case(&cases[i], pairs.row[i], &random);
	print_message("# %d cases in which all pairs of values meet but %d that are impossible\n", case_count, pairs.refused);
	pairs_free(&pairs);
}

/* ---- running one */

static void describe_identity(const int *v, char *text, size_t size)
{
	snprintf(text, size, "%s, mesh %s, chain %s, compute %s, kv %s", models[v[MODEL]], meshes[v[MESHES]].name,
		chains[v[CHAIN]].name, numbers[v[NUMBERS]].compute, numbers[v[NUMBERS]].kv);
}

static void describe(const struct bits_case *c, char *text, size_t size)
{
	const int *v = c->value;
	describe_identity(v, text, size);
	size_t n = strlen(text);
	snprintf(text + n, size - n, ", %s with %d workers, grain %s, slots %d, ahead %d, chunks of %d, %d an iteration, %d decode groups, "
		"%s, %d sequences in %d seats, %s pool of pages of %d", policies[v[POLICY]], v[WORKERS] + 1, grains[v[GRAIN]], v[SLOTS] + 1,
		v[AHEAD] + 1, chunk_rows[v[CHUNK_ROWS]], chunks[v[CHUNKS]], v[DECODES] + 1, interleaves[v[INTERLEAVE]],
		c->sequences, companies[v[COMPANY]].seats, v[POOL] == POOL_TIGHT ? "tight" : "ample", page_tokens[v[PAGE]]);
}

static void run_reference(struct identity *identity)
{
	const char *set[24] = { "schedule.slots=1", "schedule.ahead=1", "schedule.prefill.tokens=4096", "limits.sequences=1",
		"schedule.grain=\"task\"" };
	char text[3][64], name[256];
	struct model_run_sequence sequences[DISTINCT];
	int n = 5, count = 0, which[DISTINCT];
	memset(sequences, 0, sizeof sequences);
	add_identity(identity->value, set, &n, text);
	for (int i = 0; i < DISTINCT; i++)
		if (identity->wanted[i]) {
			sequences[count].sequence = distinct_sequence(identity->value[MODEL], i);
			which[count++] = i;
		}
	struct model_run run = { .directory = golden[identity->value[MODEL]]->directory, .set = set };
	describe_identity(identity->value, name, sizeof name);
	if (model_run(engine, &run, sequences, count))
		fail_msg("the reference of %s did not run", name);
	for (int i = 0; i < count; i++) {
		assert_true(sequences[i].count > 0);
		identity->reference[which[i]] = sequences[i];
	}
}

static uint32_t bits(float value)
{
	uint32_t word;
	memcpy(&word, &value, sizeof word);
	return word;
}

/* Says what differs; returns whether anything does. */
static bool differs(const struct bits_case *c, const struct model_run_sequence *got)
{
	for (int i = 0; i < c->sequences; i++) {
		const struct model_run_sequence *s = &got[i], *r = &c->identity->reference[c->which[i]];
		int t = 0;
		while (t < s->count && t < r->count && s->tokens[t] == r->tokens[t] &&
			bits(s->logprobs[t]) == bits(r->logprobs[t]))
			t++;
		if (t == s->count && t == r->count && s->reason == r->reason)
			continue;
		char name[512];
		describe(c, name, sizeof name);
		print_error("%s:\n  sequence %d (number %d of the distinct ones, prompt of %d tokens, temperature %g): ", name, i,
			c->which[i], s->sequence.prompt_tokens, (double) s->sequence.sampling.temperature);
		if (t < s->count && t < r->count)
			print_error("new token %d is %d with log-probability %.9g (%08x); the reference has %d with %.9g (%08x)\n",
				t, s->tokens[t], (double) s->logprobs[t], bits(s->logprobs[t]), r->tokens[t],
				(double) r->logprobs[t], bits(r->logprobs[t]));
		else
			print_error("%d new tokens, reason %d; the reference has %d, reason %d\n", s->count, (int) s->reason,
				r->count, (int) r->reason);
		return true;
	}
	return false;
}

struct settings {
	char text[12][64];
	const char *set[32];
};

static void set_case(const struct bits_case *c, struct settings *to)
{
	const int *v = c->value;
	int n = 0;
	memset(to, 0, sizeof *to);
	add_identity(v, to->set, &n, to->text);
	snprintf(to->text[3], sizeof *to->text, "schedule.slots=%d", v[SLOTS] + 1);
	snprintf(to->text[4], sizeof *to->text, "schedule.ahead=%d", v[AHEAD] + 1);
	snprintf(to->text[5], sizeof *to->text, "schedule.prefill.tokens=%d", chunk_rows[v[CHUNK_ROWS]]);
	snprintf(to->text[6], sizeof *to->text, "schedule.prefill.micro_batches=%d", chunks[v[CHUNKS]]);
	snprintf(to->text[7], sizeof *to->text, "schedule.decode.micro_batches=%d", v[DECODES] + 1);
	snprintf(to->text[8], sizeof *to->text, "schedule.interleave=\"%s\"", interleaves[v[INTERLEAVE]]);
	snprintf(to->text[9], sizeof *to->text, "limits.sequences=%d", companies[v[COMPANY]].seats);
	snprintf(to->text[10], sizeof *to->text, "kv.page_tokens=%d", page_tokens[v[PAGE]]);
	snprintf(to->text[11], sizeof *to->text, "schedule.grain=\"%s\"", grains[v[GRAIN]]);
	for (int i = 3; i <= 11; i++)
		to->set[n++] = to->text[i];
}

/* What the run of a case will count with the pages it has. */
static void rehearse(struct bits_case *c)
{
	struct settings settings;
	struct model_run_sequence sequences[128];
	set_case(c, &settings);
	struct model_run run = { .directory = golden[c->value[MODEL]]->directory, .set = settings.set, .pages = c->pages };
	for (int i = 0; i < c->sequences; i++)
		sequences[i] = c->identity->reference[c->which[i]];
	assert_int_equal(model_run_rehearse(&run, sequences, c->sequences), 0);
	c->expected = run.counters;
}

/* Room for the longest sequence; where that leaves each to run alone, a little more, or another order. */
static void tighten(struct bits_case *c)
{
	int page = page_tokens[c->value[PAGE]], most = 0;
	for (int i = 0; i < c->sequences; i++) {
		struct sequence s = distinct_sequence(c->value[MODEL], c->which[i]);
		int pages = (s.prompt_tokens + s.max_new_tokens - 1 + page - 1) / page;
		most = pages > most ? pages : most;
	}
	for (int turn = 0; turn < 8 && !c->expected.preemptions; turn++) {
		int first = c->which[0];
		memmove(c->which, c->which + 1, (size_t) (c->sequences - 1) * sizeof *c->which);
		c->which[c->sequences - 1] = first;
		for (c->pages = most; c->pages < most + 16 && !c->expected.preemptions; c->pages += !c->expected.preemptions)
			rehearse(c);
	}
}

static bool counts_differ(const struct bits_case *c, const struct batcher_counters *got)
{
	char name[512];
	const struct batcher_counters *expected = &c->expected;
	describe(c, name, sizeof name);
	if (c->value[POOL] == POOL_TIGHT && !got->preemptions) {
		print_error("%s: no preemption\n", name);
		return true;
	}
	if (!memcmp(got, expected, sizeof *got))
		return false;
	print_error("%s: %lld micro-batches, %lld rows, %lld preemptions, %lld rows wasted; the rehearsal had %lld, %lld, %lld, "
		"%lld\n", name, (long long) got->micro_batches, (long long) got->rows, (long long) got->preemptions,
		(long long) got->wasted_rows, (long long) expected->micro_batches, (long long) expected->rows,
		(long long) expected->preemptions, (long long) expected->wasted_rows);
	return true;
}

static bool run_case(const struct bits_case *c, struct batcher_counters *total)
{
	struct settings settings;
	struct model_run_sequence sequences[128];
	memset(sequences, 0, sizeof sequences);
	set_case(c, &settings);
	for (int i = 0; i < c->sequences; i++)
		sequences[i].sequence = distinct_sequence(c->value[MODEL], c->which[i]);
	struct model_run run = { .directory = golden[c->value[MODEL]]->directory, .set = settings.set, .pages = c->pages };
	bool wrong = model_run(engine, &run, sequences, c->sequences);
	if (wrong) {
		char name[512];
		describe(c, name, sizeof name);
		print_error("%s: did not run\n", name);
	} else {
		wrong = differs(c, sequences);
		wrong |= counts_differ(c, &run.counters);
	}
	total->micro_batches += run.counters.micro_batches;
	total->rows += run.counters.rows;
	total->sampled += run.counters.sampled;
	total->preemptions += run.counters.preemptions;
	total->wasted_rows += run.counters.wasted_rows;
	model_run_free(sequences, c->sequences);
	return wrong;
}

static void start(const char *policy, int workers)
{
	struct error error = { 0 };
	struct engine_options options = { .policy = policy, .workers = workers };
	if (engine_start(&options, &engine, &error)) {
		error_print(&error);
		fail_msg("%s with %d workers does not start", policy, workers);
	}
	assert_int_equal(engine_workers(engine), workers);
}

static void run_start(void **state)
{
	int start_number = (int) (intptr_t) *state, policy = start_number / 2, workers = start_number % 2, wrong = 0, run = 0;
	struct batcher_counters total = { 0 };
	start(policies[policy], workers + 1);
	for (int i = 0; i < case_count; i++)
		if (cases[i].value[POLICY] == policy && cases[i].value[WORKERS] == workers) {
			wrong += run_case(&cases[i], &total);
			run++;
		}
	engine_stop(engine);
	print_message("# %s, %d workers: %d cases, %lld tokens, %lld rows (%lld of sequences that had ended), %lld preemptions\n",
		policies[policy], workers + 1, run, (long long) total.sampled, (long long) total.rows,
		(long long) total.wasted_rows, (long long) total.preemptions);
	assert_true(run > 0);
	assert_int_equal(wrong, 0);
}

/* ---- the references, and whether the comparison sees anything */

static void run_references(void **state)
{
	(void) state;
	int count = 0;
	make_cases();
	start("homes", 1);
	for (struct identity *i = identities; i; i = i->next, count++)
		run_reference(i);
	engine_stop(engine);
	for (int i = 0; i < case_count; i++)
		if (cases[i].value[POOL] == POOL_TIGHT)
			tighten(&cases[i]);
		else
			rehearse(&cases[i]);
	print_message("# %d identities\n", count);
}

/* Another KV type moves the last bits: a comparison that does not notice compares nothing. */
static void sees_another_type(void **state)
{
	(void) state;
	struct identity other = { .value = { 0, 0, 0, 0 }, .wanted = { [7] = true } };
	struct bits_case c = { .sequences = 1, .which = { 7 }, .identity = &other };
	start("homes", 1);
	run_reference(&other);
	struct model_run_sequence first = other.reference[7];
	assert_false(differs(&c, &first));
	other.value[NUMBERS] = 2; /* fp32 compute, fp16 KV */
	run_reference(&other);
	engine_stop(engine);
	int same = 0, all = first.count;
	for (int t = 0; t < all && t < other.reference[7].count; t++)
		same += bits(first.logprobs[t]) == bits(other.reference[7].logprobs[t]);
	assert_true(same < all);
	model_run_free(&first, 1);
	model_run_free(&other.reference[7], 1);
}

static int set_up(void **state)
{
	(void) state;
	for (int i = 0; i < COUNT(models); i++)
		golden[i] = golden_load(models[i]);
	find_possible();
	return 0;
}

static int tear_down(void **state)
{
	(void) state;
	while (identities) {
		struct identity *i = identities;
		identities = i->next;
		model_run_free(i->reference, DISTINCT);
		free(i);
	}
	free(cases);
	for (int i = 0; i < COUNT(models); i++)
		golden_free(golden[i]);
	return 0;
}

int main(void)
{
	enum { STARTS = 2 * COUNT(policies) };
	struct CMUnitTest tests[2 + STARTS] = { cmocka_unit_test(sees_another_type), cmocka_unit_test(run_references) };
	char names[STARTS][32];
	for (int i = 0; i < STARTS; i++) {
		snprintf(names[i], sizeof names[i], "%s, %d workers", policies[i / 2], i % 2 + 1);
		tests[2 + i] = (struct CMUnitTest){ names[i], run_start, NULL, NULL, (void *) (intptr_t) i };
	}
	return _cmocka_run_group_tests("bits", tests, 2 + STARTS, set_up, tear_down);
}
