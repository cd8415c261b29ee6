/* SPDX-License-Identifier: Apache-2.0
 *
 * What a worker reaches on this host when all of them work: multiply-adds from registers, reads of memory.
 *
 * A peak for a cost model, which multiplies it by an efficiency; not what a kernel reaches. Every worker runs the same
 * loop at the same time, since clocks and memory are shared; the best of a few short rounds counts, since other
 * programs disturb some. */
#include "runtime/topology.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#if defined __x86_64__
#include <immintrin.h>
#endif

enum { ROUNDS = 3 };

#define BUFFER_BYTES  ((size_t) 96 << 20) /* of each worker: far beyond its share of the caches */
#define ROUND_SECONDS 0.04

static double now(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double) time.tv_sec + 1e-9 * (double) time.tv_nsec;
}

/* Each loop does `steps` steps and returns the FLOP of one; *sink keeps the result alive. */
typedef double loop(long steps, float *sink);

static double plain_loop(long steps, float *sink)
{
	float sum[16] = {0};
	for (long s = 0; s < steps; s++)
		for (int i = 0; i < 16; i++)
			sum[i] = sum[i] * 0.5f + 1.0f;
	for (int i = 0; i < 16; i++)
		*sink += sum[i];
	return 16 * 2;
}

#if defined __x86_64__
/* Twelve accumulators by name: compilers keep an array of them in memory. Latency 4 × 2 units need eight. The empty
 * asm keeps a step from being folded into the next. */
#define EACH(do) do(0) do(1) do(2) do(3) do(4) do(5) do(6) do(7) do(8) do(9) do(10) do(11)
#define DECLARE(i) sum##i = value,
#define STEP(i) \
	sum##i = MULTIPLY_ADD(sum##i); \
	__asm__ volatile("" : "+v"(sum##i));
#define ADD(i) *sink += ((float *) &sum##i)[0];
#define VECTOR_LOOP(name, features, type, set, flop) \
	__attribute__((target(features))) static double name(long steps, float *sink) \
	{ \
		type value = set(0.5f), EACH(DECLARE) last = value; \
		for (long s = 0; s < steps; s++) { \
			EACH(STEP) \
		} \
		EACH(ADD) \
		*sink += ((float *) &last)[0]; \
		return 12 * (flop); \
	}

#define MULTIPLY_ADD(sum) _mm256_fmadd_ps(sum, value, value)
VECTOR_LOOP(avx2_loop, "avx2,fma", __m256, _mm256_set1_ps, 8 * 2)
#undef MULTIPLY_ADD
#define MULTIPLY_ADD(sum) _mm512_fmadd_ps(sum, value, value)
VECTOR_LOOP(avx512_loop, "avx512f", __m512, _mm512_set1_ps, 16 * 2)
#undef MULTIPLY_ADD
#define MULTIPLY_ADD(sum) _mm512_dpbf16_ps(sum, (__m512bh) value, (__m512bh) value)
VECTOR_LOOP(bf16_loop, "avx512f,avx512bf16", __m512, _mm512_set1_ps, 16 * 4)
#undef MULTIPLY_ADD
#define MULTIPLY_ADD(sum) (__m512) _mm512_dpbusd_epi32((__m512i) (sum), (__m512i) value, (__m512i) value)
VECTOR_LOOP(int8_loop, "avx512f,avx512vnni", __m512, _mm512_set1_ps, 16 * 8)
#endif

/* A sum of 64-bit words: vectors at -O2, four of them independent. */
static uint64_t read_all(const uint64_t *words, size_t count)
{
	uint64_t sum[32] = {0}, all = 0;
	for (size_t i = 0; i + 32 <= count; i += 32)
		for (int j = 0; j < 32; j++)
			sum[j] += words[i + (size_t) j];
	for (int j = 0; j < 32; j++)
		all += sum[j];
	return all;
}

enum { LOOPS = 3 }; /* fp32, bf16, int8 */

struct crew { /* of all workers */
	pthread_mutex_t start; /* held until every thread is there */
	bool abandoned;        /* they are not: go home */
	pthread_barrier_t together;
};

struct worker {
	struct crew *crew;
	loop *flops[LOOPS]; /* NULL: none */
	double best[LOOPS], bandwidth;
	float sink;
	int failed;
};

static void *work(void *argument)
{
	struct worker *worker = argument;
	bool abandoned;

	pthread_mutex_lock(&worker->crew->start);
	abandoned = worker->crew->abandoned;
	pthread_mutex_unlock(&worker->crew->start);
	if (abandoned)
		return NULL;
	uint64_t *words = mmap(NULL, BUFFER_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	worker->failed = words == MAP_FAILED;
	if (!worker->failed) {
		(void) madvise(words, BUFFER_BYTES, MADV_HUGEPAGE);
		memset(words, 1, BUFFER_BYTES); /* touched here, so that it lies near */
	}
	for (int l = 0; l < LOOPS; l++)
		for (int round = 0; round < ROUNDS; round++) {
			long steps = 1 << 14;
			double rate = 0, begin, spent;
			pthread_barrier_wait(&worker->crew->together);
			if (!worker->flops[l])
				continue;
			do { /* twice as long until it is long enough to be timed */
				steps *= 2;
				begin = now();
				rate = worker->flops[l](steps, &worker->sink) * (double) steps;
				spent = now() - begin;
			} while (spent < ROUND_SECONDS / 2);
			rate /= spent;
			if (rate > worker->best[l])
				worker->best[l] = rate;
		}
	for (int round = 0; round < ROUNDS; round++) {
		pthread_barrier_wait(&worker->crew->together);
		if (worker->failed)
			continue;
		double begin = now();
		worker->sink += (float) read_all(words, BUFFER_BYTES / sizeof *words);
		double rate = (double) BUFFER_BYTES / (now() - begin);
		if (rate > worker->bandwidth)
			worker->bandwidth = rate;
	}
	if (!worker->failed)
		munmap(words, BUFFER_BYTES);
	return NULL;
}

static loop *best_fp32(const struct topology *topology)
{
#if defined __x86_64__
	if (topology->avx512)
		return avx512_loop;
	if (topology->avx2 && topology->fma)
		return avx2_loop;
#endif
	(void) topology;
	return plain_loop;
}

static loop *best_bf16(const struct topology *topology)
{
#if defined __x86_64__
	if (topology->avx512_bf16)
		return bf16_loop;
#endif
	(void) topology;
	return NULL;
}

static loop *best_int8(const struct topology *topology)
{
#if defined __x86_64__
	if (topology->avx512_vnni)
		return int8_loop;
#endif
	(void) topology;
	return NULL;
}

int topology_measure(const struct topology *topology, struct topology_speed *speed, struct error *error)
{
	int count = topology->workers, started = 0, code = 0;
	struct worker *worker = calloc((size_t) count, sizeof *worker);
	pthread_t *thread = calloc((size_t) count, sizeof *thread);
	struct crew crew = { .start = PTHREAD_MUTEX_INITIALIZER };
	struct topology_speed sum = {0};

	if (!worker || !thread) {
		code = error_memory(error, "measuring this host");
		goto out;
	}
	if (pthread_barrier_init(&crew.together, NULL, (unsigned) count)) {
		code = error_set(error, ERROR_RUN, NULL, "cannot measure this host: no barrier for %d threads", count);
		goto out;
	}
	pthread_mutex_lock(&crew.start);
	for (; started < count && !crew.abandoned; started++) {
		worker[started] = (struct worker){ .crew = &crew,
			.flops = { best_fp32(topology), best_bf16(topology), best_int8(topology) } };
		if (pthread_create(&thread[started], NULL, work, &worker[started])) {
			code = error_set(error, ERROR_RUN, NULL, "cannot start %d threads to measure this host", count);
			crew.abandoned = true;
			break;
		}
	}
	pthread_mutex_unlock(&crew.start);
	for (int i = 0; i < started; i++)
		pthread_join(thread[i], NULL);
	pthread_barrier_destroy(&crew.together);
	if (code)
		goto out;
	for (int i = 0; i < count; i++) {
		if (worker[i].failed)
			code = error_memory(error, "measuring this host");
		sum.fp32_flops += worker[i].best[0] / count;
		sum.bf16_flops += worker[i].best[1] / count;
		sum.int8_flops += worker[i].best[2] / count;
		sum.bandwidth += worker[i].bandwidth / count;
	}
	if (!code)
		*speed = sum;
out:
	free(worker);
	free(thread);
	return code;
}
