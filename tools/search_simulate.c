/* SPDX-License-Identifier: Apache-2.0
 *
 * Simulates the best candidates: `octant-sim simulate --json` beside this program, one process after the other. */
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "tools/search.h"

enum { MOST_ARGUMENTS = 1024 };

static int find_simulator(char *path, size_t size, struct error *error)
{
	ssize_t n = readlink("/proc/self/exe", path, size - sizeof "-sim");
	if (n < 0)
		return error_set(error, ERROR_RUN, "/proc/self/exe", "cannot be read: %s", strerror(errno));
	path[n] = '\0';
	if (n < 4 || strcmp(path + n - 4, "-sim"))
		strcpy(path + n, "-sim");
	if (access(path, X_OK))
		return error_set(error, ERROR_RUN, path, "is not built; tools/build --sim builds it, or --simulate 0 plans only");
	return 0;
}

/* Its standard output. Exit status 1 is a requirement that does not hold, and fine. */
static int run(char *const *argv, json_t **root, struct error *error)
{
	int ends[2], status = 0;
	json_error_t json;
	if (pipe(ends))
		return error_set(error, ERROR_RUN, NULL, "no pipe to the simulator: %s", strerror(errno));
	pid_t child = fork();
	if (child < 0) {
		close(ends[0]);
		close(ends[1]);
		return error_set(error, ERROR_RUN, argv[0], "cannot be started: %s", strerror(errno));
	}
	if (!child) {
		dup2(ends[1], STDOUT_FILENO);
		close(ends[0]);
		close(ends[1]);
		execv(argv[0], argv);
		_exit(127);
	}
	close(ends[1]);
	FILE *file = fdopen(ends[0], "r");
	*root = file ? json_loadf(file, 0, &json) : NULL;
	if (file)
		fclose(file);
	else
		close(ends[0]);
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	if (*root && WIFEXITED(status) && WEXITSTATUS(status) <= 1)
		return 0;
	json_decref(*root);
	*root = NULL;
	return error_set(error, ERROR_RUN, argv[0], "failed where a plan did not; octant simulate with the same options says why");
}

static double number(const json_t *root, const char *name, const char *inner)
{
	const json_t *value = json_object_get(root, name);
	if (inner)
		value = json_object_get(value, inner);
	return json_is_number(value) ? json_number_value(value) : NAN;
}

static void read_figures(const json_t *m, const struct search *s, struct search_candidate *c)
{
	const json_t *requirement;
	size_t i;
	c->simulated = (struct search_figures){ number(m, "makespan_s", NULL), number(m, "ttft_s", "max"),
		number(m, "tokens_per_ms_per_device", "prefill"), number(m, "tokens_per_ms_per_device", "decode"),
		number(m, "total_tokens_per_s", NULL) / 1e3 / s->base[c->base].graph->mesh.devices,
		number(m, "exposed_comm_share", NULL), number(m, "exposed_comm_share_prefill", NULL), number(m, "bubble_share", NULL),
		number(m, "bubble_share_prefill", NULL) };
	c->simulated_holds = true;
	json_array_foreach(json_object_get(m, "requirements"), i, requirement)
		if (json_is_false(json_object_get(requirement, "holds")))
			c->simulated_holds = false;
	const char *name;
	double value, limit;
	if (search_limits_missed(s, &c->simulated, &name, &value, &limit) > 0)
		c->simulated_holds = false;
}

static int simulate(struct search *s, struct search_candidate *c, const char *simulator, const char *graph,
	const char *const *arguments, struct error *error)
{
	struct graph_override overrides[SEARCH_OVERRIDES];
	char *argv[MOST_ARGUMENTS], *set[SEARCH_OVERRIDES], text[SEARCH_TEXT];
	int count = search_overrides(s, c, overrides, text), argc = 0, code = 0, made = 0;
	argv[argc++] = (char *) simulator;
	argv[argc++] = "simulate";
	argv[argc++] = (char *) graph;
	argv[argc++] = "--json";
	argv[argc++] = "--quiet";
	for (int i = 0; arguments[i]; i++) {
		if (argc >= MOST_ARGUMENTS - 2 * SEARCH_OVERRIDES - 1)
			return error_set(error, ERROR_INPUT, NULL, "more than %d arguments are too many to pass to the simulator", MOST_ARGUMENTS);
		argv[argc++] = (char *) arguments[i];
	}
	for (; !code && made < count; made++) {
		size_t length = strlen(overrides[made].path) + strlen(overrides[made].value) + 2;
		set[made] = malloc(length);
		if (!set[made]) {
			code = error_memory(error, "searching");
			break;
		}
		snprintf(set[made], length, "%s=%s", overrides[made].path, overrides[made].value);
		argv[argc++] = "--set";
		argv[argc++] = set[made];
	}
	argv[argc] = NULL;
	json_t *root = NULL;
	if (!code)
		code = run(argv, &root, error);
	if (!code)
		read_figures(root, s, c);
	json_decref(root);
	while (made)
		free(set[--made]);
	return code;
}

/* The best, but at first only a few of one mesh, so that what simulation finds out about a mesh can count. */
static int choose(const struct search *s, int count, int *chosen)
{
	int found = 0;
	for (int pass = 0; pass < 2; pass++)
		for (int i = 0; i < s->ranked && found < count; i++) {
			const struct search_candidate *c = &s->candidate[s->best[i]];
			int same = 0;
			bool taken = false;
			for (int j = 0; j < found; j++) {
				const struct mesh *x = &s->base[s->candidate[chosen[j]].base].graph->mesh, *y = &s->base[c->base].graph->mesh;
				same += x->tensor == y->tensor && x->experts == y->experts && x->stages == y->stages
					&& x->expert_tensor == y->expert_tensor;
				taken |= chosen[j] == s->best[i];
			}
			if (!taken && !c->twin && (pass || same < (count + 3) / 4) && (s->regardless || c->miss <= 0))
				chosen[found++] = s->best[i];
		}
	return found;
}

static bool is_simulated(const struct search_candidate *c)
{
	return c->simulated.makespan > 0;
}

/* Whether some simulated one of the same base has the same planned figures, so that nothing else is to be expected. */
static bool has_simulated_twin(const struct search *s, const struct search_candidate *c)
{
	for (int i = 0; i < s->ranked && is_simulated(&s->candidate[s->best[i]]); i++) {
		const struct search_candidate *d = &s->candidate[s->best[i]];
		if (d->base == c->base && !memcmp(&d->planned, &c->planned, sizeof c->planned))
			return true;
	}
	return false;
}

static int keys_that_differ(const struct search_candidate *a, const struct search_candidate *b)
{
	int n = 0;
	for (int k = 0; k < SEARCH_KEYS; k++)
		n += a->key[k] != b->key[k];
	return n;
}

/* The best planned neighbour of the best simulated; −1: all are known. */
static int next_neighbour(const struct search *s)
{
	const struct search_candidate *centre = &s->candidate[s->best[0]];
	for (int i = 0; i < s->ranked; i++) {
		const struct search_candidate *c = &s->candidate[s->best[i]];
		if (!is_simulated(c) && c->base == centre->base && keys_that_differ(c, centre) == 1
			&& (s->regardless || c->miss <= 0) && !has_simulated_twin(s, c))
			return s->best[i];
	}
	return -1;
}

static void tell(const char *what, int i, int of)
{
	if (isatty(STDERR_FILENO))
		fprintf(stderr, "\rsimulating %s %d of %d ", what, i, of);
}

/* Up to `near` neighbours of the best simulated, which each may replace. */
static int simulate_near(struct search *s, int near, const char *simulator, const char *graph, const char *const *arguments,
	struct error *error)
{
	int code = search_rank(s, error), centre = -1;
	for (int i = 0; !code && i < near && is_simulated(&s->candidate[s->best[0]]); i++) {
		if (s->best[0] != centre) {
			centre = s->best[0];
			code = search_neighbours(s, centre, error);
		}
		int next = code ? -1 : next_neighbour(s);
		if (next < 0)
			break;
		tell("neighbour", i + 1, near);
		code = simulate(s, &s->candidate[next], simulator, graph, arguments, error);
		if (!code)
			code = search_rank(s, error);
	}
	return code;
}

int search_simulate(struct search *s, const char *graph, const char *const *arguments, int count, int near,
	struct error *error)
{
	char simulator[4096];
	int *chosen = calloc((size_t) count + 1, sizeof *chosen);
	int code = chosen ? find_simulator(simulator, sizeof simulator, error) : error_memory(error, "searching");
	int found = code ? 0 : choose(s, count, chosen);
	for (int i = 0; !code && i < found; i++) {
		tell("candidate", i + 1, found);
		code = simulate(s, &s->candidate[chosen[i]], simulator, graph, arguments, error);
	}
	if (!code && found)
		code = simulate_near(s, near, simulator, graph, arguments, error);
	if (found && isatty(STDERR_FILENO))
		fprintf(stderr, "\r%40s\r", "");
	free(chosen);
	return code ? code : search_rank(s, error);
}
