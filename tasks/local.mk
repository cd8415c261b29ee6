# SPDX-License-Identifier: Apache-2.0
#
# libtasks.a: one file per kind of task. One line a module, headers too, in alphabetical order:
# libtasks_a_SOURCES += tasks/NAME.c tasks/NAME.h
libtasks_a_SOURCES += tasks/kinds.c tasks/kinds.h
libtasks_a_SOURCES += tasks/calibrate.c tasks/calibrate.h tasks/calibrate_fit.c tasks/calibrate_runtime.c \
	tasks/calibrate_samples.c
libtasks_a_SOURCES += tasks/call.c tasks/call.h
libtasks_a_SOURCES += tasks/deployment.c tasks/deployment.h
libtasks_a_SOURCES += tasks/grain.c tasks/grain.h
libtasks_a_SOURCES += tasks/load.c tasks/load.h
libtasks_a_SOURCES += tasks/lower.c
libtasks_a_SOURCES += tasks/message.c tasks/message.h
libtasks_a_SOURCES += tasks/plan.c tasks/plan.h tasks/plan_internal.h
libtasks_a_SOURCES += tasks/plan_bound.c tasks/plan_claims.c tasks/plan_memory.c tasks/plan_time.c tasks/plan_why.c tasks/plan_work.c
libtasks_a_SOURCES += tasks/pool.c tasks/pool.h
libtasks_a_SOURCES += tasks/run.c tasks/run.h
libtasks_a_SOURCES += tasks/simulate.c tasks/simulate.h
libtasks_a_SOURCES += tasks/touch.c tasks/touch.h
libtasks_a_SOURCES += tasks/weights.c tasks/weights.h
libtasks_a_SOURCES += tasks/weights_random.c tasks/weights_random.h
libtasks_a_SOURCES += tasks/weights_cache.c tasks/weights_cache.h
libtasks_a_SOURCES += tasks/work.c tasks/work.h
libtasks_a_SOURCES += tasks/all_gather.c tasks/all_reduce.c tasks/attention.c tasks/combine.c tasks/dispatch.c
libtasks_a_SOURCES += tasks/embed.c tasks/experts.c tasks/gather_rows.c tasks/head.c tasks/mlp.c
libtasks_a_SOURCES += tasks/reduce_scatter.c tasks/route.c tasks/sample.c tasks/send.c
