/* SPDX-License-Identifier: Apache-2.0
 *
 * Who has a seat and KV pages: admission, pages for decode rows, preemption.
 *
 * Age is a sequence's index. Admission is strictly by age, so that preempted sequences, which are older than
 * any that has never run, come before those, and there are never more sequences with tokens of their own than
 * seats: a preempted one keeps its seat.
 *
 * Why the oldest always finishes and none is lost:
 *  1. A sequence that is admitted takes the pages of all tokens it has and of its first decode row, so only
 *     decode rows can lack a page, one at a time.
 *  2. One that lacks a page either waits for pages that are on their way back, or preempts the youngest running
 *     sequence of its pool that is younger than itself, or, being the youngest, waits for older ones. So the oldest
 *     running sequence of a pool is never preempted by another, and it lacks a page only while others hold
 *     some: each time, one of those leaves within the micro-batches in flight. As nobody is admitted to a pool
 *     where somebody lacks a page, and a younger one does not take it, the page goes to the oldest who waits for it. When no other holds pages, the pool is its
 *     own, and batcher_add has made sure that the whole pool is enough.
 *  3. The oldest of all that wait is seated before any other. While it cannot be, nobody is, so what runs only
 *     shrinks: by 2 the oldest of each pool finishes, until the pool has room or is empty, which is enough.
 *  4. So the oldest unfinished sequence runs after a finite time, and then is never preempted, as no older one is
 *     left to do it. It finishes, and the next is the oldest. Every sequence is bounded in length, hence the end. */
#include "runtime/batcher_internal.h"

static void give_back_pages(struct batcher *b, struct seat *seat)
{
	/* in reverse, so that the stack gives a next sequence the same ascending pages */
	while (seat->pages > 0)
		kv_pages_release(b->pool[seat->group], seat->page[--seat->pages]);
	b->decode_count[seat->decode_group]--;
	seat->stalled = false;
}

static void leave_seat(struct batcher *b, struct seat *seat)
{
	int index = (int) (seat - b->seat), i = 0;

	while (b->order[i] != index)
		i++;
	for (b->active--; i < b->active; i++)
		b->order[i] = b->order[i + 1];
	b->entry[seat->sequence].seat = -1;
	seat->sequence = -1;
	seat->state = SEAT_FREE;
	b->free_seat[b->free_seats++] = index;
}

/* Nothing in flight names the seat any more: does what its state has been waiting for. */
void batcher_seat_drained(struct batcher *b, struct seat *seat)
{
	if (seat->state == SEAT_LEAVING) {
		if (seat->pages)
			give_back_pages(b, seat);
		leave_seat(b, seat);
	} else if (seat->state == SEAT_PREEMPTING) {
		give_back_pages(b, seat);
		seat->seen = seat->done > seat->seen ? seat->done : seat->seen;
		seat->done = 0;
		seat->state = SEAT_WAITING;
	}
}

static void preempt(struct batcher *b, struct seat *seat)
{
	seat->state = SEAT_PREEMPTING;
	seat->stalled = false;
	b->counters.preemptions++;
	if (!seat_in_flight(b, seat))
		batcher_seat_drained(b, seat);
}

struct shortage {   /* of one pool */
	int coming; /* pages that come back without anybody being preempted */
	int wanted; /* seats that wait for one page each */
	int older;  /* those of them that are older than a given one */
};

static struct shortage count_shortage(const struct batcher *b, const struct seat *of)
{
	struct shortage count = {0, 0, 0};

	for (int i = 0; i < b->active; i++) {
		const struct seat *seat = &b->seat[b->order[i]];
		if (seat->group != of->group || seat->state == SEAT_WAITING)
			continue;
		if (!seat_runs(seat))
			count.coming += seat->pages;
		else if (seat->stalled) {
			count.wanted++;
			count.older += seat->sequence < of->sequence;
		}
	}
	return count;
}

/* One victim is enough for one seat: it holds a page at least, and the next seat that lacks one looks for
 * itself. */
static void preempt_youngest(struct batcher *b, const struct seat *than)
{
	for (int i = b->active - 1; i >= 0; i--) {
		struct seat *victim = &b->seat[b->order[i]];
		if (victim == than)
			return;
		if (victim->group == than->group && seat_runs(victim)) {
			preempt(b, victim);
			return;
		}
	}
}

bool batcher_page_for_row(struct batcher *b, struct seat *seat)
{
	struct kv_pages *pool = b->pool[seat->group];
	struct shortage shortage;

	if (seat->done / b->options.page_tokens < seat->pages)
		return true;
	/* free pages belong to older seats that wait for one */
	if (kv_pages_free(pool) <= count_shortage(b, seat).older) {
		seat->stalled = true;
		shortage = count_shortage(b, seat);
		if (shortage.coming + kv_pages_free(pool) < shortage.wanted)
			preempt_youngest(b, seat);
		if (kv_pages_free(pool) <= shortage.older)
			return false;
	}
	seat->page[seat->pages++] = kv_pages_take(pool);
	seat->stalled = false;
	return true;
}

/* The pool with most room for `pages` more, −1: none has it. A page is left over for each running sequence that
 * will want another one, so that a sequence is not let in only to be preempted at the next page boundary. */
static int choose_group(const struct batcher *b, int pages)
{
	int best = -1, best_seats = 0;

	for (int g = 0; g < b->options.groups; g++) {
		int spare = 0, seats = 0;
		bool stalled = false;

		for (int i = 0; i < b->active; i++) {
			const struct seat *seat = &b->seat[b->order[i]];
			if (seat->group != g || seat->state == SEAT_WAITING)
				continue;
			seats++;
			if (!seat_runs(seat))
				continue;
			spare += seat->pages < seat->full_pages;
			stalled |= seat->stalled;
		}
		if (stalled || kv_pages_free(b->pool[g]) - (int64_t) pages < spare)
			continue;
		if (best < 0 || kv_pages_used(b->pool[g]) < kv_pages_used(b->pool[best]) ||
			(kv_pages_used(b->pool[g]) == kv_pages_used(b->pool[best]) && seats < best_seats)) {
			best = g;
			best_seats = seats;
		}
	}
	return best;
}

static struct seat *oldest_preempted(struct batcher *b)
{
	for (int i = 0; i < b->active; i++)
		if (b->seat[b->order[i]].state == SEAT_WAITING)
			return &b->seat[b->order[i]];
	return NULL;
}

/* A seat for the next sequence that has never run, NULL: none waits, or no seat is free. */
static struct seat *next_arrival(const struct batcher *b)
{
	if (b->next_new >= b->entries || !b->free_seats)
		return NULL;
	return &b->seat[b->free_seat[b->free_seats - 1]];
}

static void sit_down(struct batcher *b, struct seat *seat)
{
	struct entry *entry = &b->entry[b->next_new];
	int index = (int) (seat - b->seat);

	seat->sequence = b->next_new++;
	entry->seat = index;
	seat->prompt = seat->known = entry->sequence.prompt_tokens;
	for (int i = 0; i < seat->known; i++)
		seat->history[i] = entry->sequence.prompt[i];
	seat->seen = 0;
	seat->pages = 0;
	seat->last_end = seat->sampled_end = 0;
	seat->full_pages = batcher_pages_for(b, seat->prompt + entry->sequence.max_new_tokens - 1);
	b->free_seats--;
	b->order[b->active++] = index; /* the youngest of all */
}

bool batcher_admit(struct batcher *b)
{
	struct seat *seat = oldest_preempted(b);
	const struct sequence *sequence;
	int tokens, pages, group, best = 0;

	while (b->next_new < b->entries && b->entry[b->next_new].reason != FINISH_NONE)
		b->next_new++;
	if (!seat) {
		seat = next_arrival(b);
		if (!seat)
			return false;
		sequence = &b->entry[b->next_new].sequence;
		tokens = sequence->prompt_tokens;
	} else {
		sequence = &b->entry[seat->sequence].sequence;
		tokens = seat->known;
	}
	/* the last new token is never a row of its own */
	if (tokens < sequence->prompt_tokens + sequence->max_new_tokens - 1)
		pages = batcher_pages_for(b, tokens + 1);
	else
		pages = batcher_pages_for(b, tokens);
	group = choose_group(b, pages);
	if (group < 0)
		return false;
	if (seat->state == SEAT_FREE)
		sit_down(b, seat);

	for (int d = 1; d < b->options.decode_micro_batches; d++)
		if (b->decode_count[d] < b->decode_count[best])
			best = d;
	b->decode_count[best]++;
	seat->decode_group = best;
	seat->group = group;
	for (; seat->pages < pages; seat->pages++)
		seat->page[seat->pages] = kv_pages_take(b->pool[group]);
	seat->state = SEAT_PREFILL;
	seat->stalled = false;
	seat->done = 0;
	seat->target = seat->known;
	seat->scheduled = seat->known - seat->prompt;
	return true;
}
