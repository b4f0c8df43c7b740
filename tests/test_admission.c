/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Who may hold which block: random schedules against a model that keeps only a
 * list of leases and recomputes everything else from it after each step.
 */
#include <criterion/criterion.h>

#include "admission.h"
#include "random.h"

/* --------------------------------------------------------------- the model */

#define CAPTURES 10
#define STREAMS 3
#define BLOCKS_MAX 40
#define HELD_MAX 24

struct model_capture {
	bool is_attached;
	bool is_stopped; /* gives nothing back */
	uint32_t stream;
	struct grant grant;
	uint32_t guarantee;
	uint32_t budget;
	uint32_t held;
	struct {
		uint32_t block;
		enum admission_charge charge;
	} leases[HELD_MAX];
};

struct model {
	struct admission admission;
	uint32_t set_aside;
	uint32_t pool;
	struct model_capture captures[CAPTURES];
	struct {
		bool is_open;
		uint32_t block;
	} streams[STREAMS];
	uint64_t granted, refused, within, attach_refused, pool_full;
};

static uint32_t model_charged(const struct model_capture *capture,
			      enum admission_charge charge)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < capture->held; i++)
		n += capture->leases[i].charge == charge;
	return n;
}

/* Leases of @block, those of kind @charge alone unless it is NONE. */
static uint32_t model_leases(const struct model *model, uint32_t block,
			     enum admission_charge charge)
{
	uint32_t n = 0;

	for (int c = 0; c < CAPTURES; c++)
		for (uint32_t i = 0; i < model->captures[c].held; i++)
			n += model->captures[c].leases[i].block == block &&
			     (charge == CHARGE_NONE ||
			      model->captures[c].leases[i].charge == charge);
	return n;
}

static uint32_t model_pool_used(const struct model *model)
{
	uint32_t n = 0;

	for (uint32_t b = 0; b < model->admission.block_count; b++)
		n += model_leases(model, b, CHARGE_POOL) > 0;
	return n;
}

static uint32_t model_promised(const struct model *model)
{
	uint32_t n = 0;

	for (int s = 0; s < STREAMS; s++)
		n += model->streams[s].is_open;
	for (int c = 0; c < CAPTURES; c++)
		if (model->captures[c].is_attached)
			n += model->captures[c].guarantee;
	return n;
}

static bool model_is_open(const struct model *model, uint32_t block)
{
	for (int s = 0; s < STREAMS; s++)
		if (model->streams[s].is_open &&
		    model->streams[s].block == block)
			return true;
	return false;
}

static void model_check(const struct model *model)
{
	const struct admission *admission = &model->admission;
	bool is_free[BLOCKS_MAX] = { false };
	uint32_t in_use = 0;

	for (uint32_t i = 0; i < admission->free_count; i++) {
		uint32_t block = admission->free[i];

		cr_assert(block < admission->block_count && !is_free[block],
			  "block %u is free twice", block);
		is_free[block] = true;
	}
	for (uint32_t b = 0; b < admission->block_count; b++) {
		uint32_t leases = model_leases(model, b, CHARGE_NONE);
		bool is_open = model_is_open(model, b);

		cr_assert_eq(admission->blocks[b].leases, leases);
		cr_assert_eq(admission->blocks[b].pool_leases,
			     model_leases(model, b, CHARGE_POOL));
		cr_assert_eq(admission->blocks[b].is_open, is_open);
		cr_assert_eq(is_free[b], !is_open && leases == 0);
		in_use += !is_free[b];
	}
	cr_assert_eq(admission->free_count, admission->block_count - in_use);
	cr_assert_gt(admission->free_count, 0, "no block is free");
	cr_assert_eq(admission->pool_used, model_pool_used(model));
	cr_assert_leq(admission->pool_used, model->pool);
	cr_assert_eq(admission->promised, model_promised(model));
	cr_assert_leq(admission->promised, model->set_aside);
}

/* What the rules in admission.h say about one more lease. */
static enum admission_charge model_ask(const struct model *model,
				       const struct model_capture *capture,
				       uint32_t block)
{
	if (model_charged(capture, CHARGE_GUARANTEE) < capture->guarantee)
		return CHARGE_GUARANTEE;
	if (model_charged(capture, CHARGE_POOL) >= capture->budget)
		return CHARGE_NONE;
	if (model_leases(model, block, CHARGE_POOL) == 0 &&
	    model_pool_used(model) == model->pool)
		return CHARGE_NONE;
	return CHARGE_POOL;
}

static void model_offer(struct model *model, struct model_capture *capture)
{
	uint32_t block = model->streams[capture->stream].block;
	enum admission_charge expected = model_ask(model, capture, block);
	enum admission_charge charge;

	if (capture->held == HELD_MAX)
		return;
	cr_assert_eq(admission_ask(&model->admission, &capture->grant, block),
		     expected);
	charge = admission_lease(&model->admission, &capture->grant, block);
	cr_assert_eq(charge, expected);
	model->pool_full += model->admission.pool_used == model->pool;
	if (charge == CHARGE_NONE) {
		model->refused++;
		return;
	}
	model->granted++;
	model->within += charge == CHARGE_GUARANTEE;
	capture->leases[capture->held].block = block;
	capture->leases[capture->held++].charge = charge;
}

static void model_release(struct model *model, struct model_capture *capture)
{
	uint32_t i;

	if (capture->held == 0)
		return;
	i = below(capture->held);
	admission_release(&model->admission, &capture->grant,
			  capture->leases[i].block, capture->leases[i].charge);
	capture->leases[i] = capture->leases[--capture->held];
}

static void model_open(struct model *model, uint32_t stream)
{
	cr_assert_gt(model->admission.free_count, 0,
		     "no block for the next burst");
	model->streams[stream].block = admission_open(&model->admission);
	model->streams[stream].is_open = true;
}

static void model_close(struct model *model, uint32_t stream)
{
	admission_close(&model->admission, model->streams[stream].block);
	model->streams[stream].is_open = false;
}

static void model_attach(struct model *model, struct model_capture *capture)
{
	uint32_t stream = below(STREAMS);
	bool opens = !model->streams[stream].is_open;
	uint32_t guarantee = 1 + below(4), budget = below(HELD_MAX);
	uint32_t before = model_promised(model);
	bool fits = before + guarantee + opens <= model->set_aside;

	cr_assert_eq(admission_promise(&model->admission, guarantee + opens),
		     fits);
	if (!fits) {
		model->attach_refused++;
		return;
	}
	*capture = (struct model_capture){
		.is_attached = true,
		.is_stopped = chance(30),
		.stream = stream,
		.guarantee = guarantee,
		.budget = budget,
		.grant = { .guarantee = guarantee, .budget = budget },
	};
	if (opens)
		model_open(model, stream);
	model_offer(model, capture);
	cr_assert_eq(capture->held, 1, "a new capture is let in");
}

static void model_detach(struct model *model, struct model_capture *capture)
{
	bool is_last = true;

	while (capture->held)
		model_release(model, capture);
	admission_unpromise(&model->admission, capture->guarantee);
	capture->is_attached = false;
	for (int c = 0; c < CAPTURES; c++)
		if (model->captures[c].is_attached &&
		    model->captures[c].stream == capture->stream)
			is_last = false;
	if (!is_last)
		return;
	model_close(model, capture->stream);
	admission_unpromise(&model->admission, 1);
}

/* What a lossless lane asks before it goes on: would the next be lent? */
static void model_check_room(const struct model *model)
{
	const struct admission *admission = &model->admission;
	uint32_t next = admission->free[admission->free_count - 1];

	for (int c = 0; c < CAPTURES; c++) {
		const struct grant *grant = &model->captures[c].grant;

		if (model->captures[c].is_attached)
			cr_assert_eq(admission_has_room(admission, grant),
				     admission_ask(admission, grant, next) !=
					     CHARGE_NONE);
	}
}

static void model_turn_over(struct model *model, uint32_t stream)
{
	if (!model->streams[stream].is_open)
		return;
	model_close(model, stream);
	model_open(model, stream);
	for (int c = 0; c < CAPTURES; c++)
		if (model->captures[c].is_attached &&
		    model->captures[c].stream == stream)
			model_offer(model, &model->captures[c]);
}

static void model_step(struct model *model)
{
	struct model_capture *capture = &model->captures[below(CAPTURES)];
	uint32_t what = below(100);

	if (what < 30) {
		model_turn_over(model, below(STREAMS));
	} else if (!capture->is_attached) {
		if (what < 50)
			model_attach(model, capture);
	} else if (what < 90) {
		if (!capture->is_stopped)
			model_release(model, capture);
	} else if (what < 93) {
		model_offer(model, capture);
	} else if (what < 97) {
		capture->is_stopped = !capture->is_stopped;
	} else {
		model_detach(model, capture);
	}
	model_check(model);
	model_check_room(model);
}

static void model_init(struct model *model, uint32_t blocks, uint32_t percent)
{
	*model = (struct model){ 0 };
	cr_assert_eq(admission_init(&model->admission, blocks, percent), 0);
	model->set_aside = model->admission.set_aside;
	model->pool = model->admission.pool;
	cr_assert_eq(model->set_aside + model->pool + 1, blocks);
	cr_assert_geq(model->set_aside, 2);
	cr_assert_geq(model->pool, 1);
}

static void model_end(struct model *model)
{
	for (int c = 0; c < CAPTURES; c++)
		if (model->captures[c].is_attached)
			model_detach(model, &model->captures[c]);
	model_check(model);
	cr_assert_eq(model->admission.free_count, model->admission.block_count);
	cr_assert_eq(model->admission.promised, 0);
	cr_assert_eq(model->admission.pool_used, 0);
	admission_deinit(&model->admission);
}

Test(admission, whatever_captures_do_the_next_burst_finds_a_free_block)
{
	uint64_t granted = 0, refused = 0, within = 0, attach = 0, full = 0;
	static struct model model;

	for (uint32_t seed = 1; seed <= 100; seed++) {
		random_seed(seed);
		model_init(&model, 4 + below(BLOCKS_MAX - 3), 1 + below(99));
		for (int step = 0; step < 2000; step++)
			model_step(&model);
		model_end(&model);
		granted += model.granted;
		refused += model.refused;
		within += model.within;
		attach += model.attach_refused;
		full += model.pool_full;
	}
	/* The schedules went to all the corners. */
	cr_assert_gt(granted, 30000);
	cr_assert_gt(refused, 20000);
	cr_assert_gt(within, 10000);
	cr_assert_gt(attach, 1000);
	cr_assert_gt(full, 20000);
}

Test(admission, an_attach_is_granted_while_another_holds_the_whole_pool)
{
	static struct model model;
	struct model_capture *hog = &model.captures[0];
	uint32_t attached = 0;

	model_init(&model, 32, 50);
	cr_assert(admission_promise(&model.admission, 2 + 1));
	*hog = (struct model_capture){
		.is_attached = true,
		.guarantee = 2,
		.budget = HELD_MAX,
		.grant = { .guarantee = 2, .budget = HELD_MAX },
	};
	model_open(&model, 0);
	model_offer(&model, hog);
	while (model.refused == 0)
		model_turn_over(&model, 0);
	cr_assert_eq(model.admission.pool_used, model.pool);
	cr_assert_eq(hog->held, 2 + model.pool);

	/* The set-aside holds 16: the open block, its 2, and 6 times 2. */
	for (int c = 1; c < CAPTURES; c++) {
		struct model_capture *capture = &model.captures[c];

		if (!admission_promise(&model.admission, 2))
			break;
		*capture = (struct model_capture){
			.is_attached = true,
			.guarantee = 2,
			.grant = { .guarantee = 2 },
		};
		model_offer(&model, capture);
		cr_assert_eq(capture->held, 1);
		attached++;
	}
	cr_assert_eq(attached, 6);
	model.refused = 0;
	for (int burst = 0; burst < 100; burst++) {
		model_turn_over(&model, 0);
		for (int c = 1; c <= 6; c++) {
			cr_assert_eq(model.captures[c].held, 2,
				     "within its guarantee");
			model_release(&model, &model.captures[c]);
		}
		model_check(&model);
	}
	cr_assert_eq(model.refused, 100, "only the one that holds all");
	model_end(&model);
}

Test(admission, a_block_in_the_pool_is_paid_for_once)
{
	struct grant a = { .budget = 9 }, b = { .budget = 9 };
	struct admission admission;
	uint32_t first, second;

	cr_assert_eq(admission_init(&admission, 4, 50), 0);
	cr_assert_eq(admission.pool, 1);
	first = admission_open(&admission);
	cr_assert_eq(admission_lease(&admission, &a, first), CHARGE_POOL);
	cr_assert_not(admission_has_room(&admission, &b));
	cr_assert_eq(admission_lease(&admission, &b, first), CHARGE_POOL);
	admission_close(&admission, first);
	second = admission_open(&admission);
	cr_assert_eq(admission_lease(&admission, &a, second), CHARGE_NONE);
	admission_release(&admission, &a, first, CHARGE_POOL);
	cr_assert_eq(admission_lease(&admission, &a, second), CHARGE_NONE);
	admission_release(&admission, &b, first, CHARGE_POOL);
	cr_assert_eq(admission_lease(&admission, &a, second), CHARGE_POOL);
	admission_deinit(&admission);
}
