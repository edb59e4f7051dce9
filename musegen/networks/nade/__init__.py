"""A recurrent network over the steps of a binary grid, with a NADE over the cells of each step.

    p(x) = Π_t Π_d p(x_{t,d} | x_{t,<d}, x_{<t})

A sample is a grid ``(C, T, W)`` whose rows are steps. Cells of a step are ordered as in
``musegen.networks.autoregressive``: column by column, and within a column channel by channel, so cell (c, w) is the d-th with
d = w C + c, D = C W. The logit of cell d at step t is a sum of terms (``terms.Term``), where h_t is the state of the recurrent
network after the steps before t:

* absolute, a NADE with one hidden layer or more (Larochelle & Murray 2011, AISTATS), whose biases follow h_t (Boulanger-
  Lewandowski et al. 2012, 1206.6392): b_d + B_d h_t + V_d φ(c_t + Σ_{k<d} x_k W_k) with c_t = c + C h_t;
* relative, the same for all columns: a masked convolution over the cells of the step that come before d and earlier steps
  on both sides, with a bias that follows h_t, a ReLU, and 1×1 convolutions. Distances and steps look the same at every
  column. Of earlier steps it sees those just before t, and any "lags" before t: music repeats itself after bars, and
  what is to come then stands there. Where columns have classes, as notes have names, how often each class has sounded
  (``Harmony``) adds to that bias.

**Given cells.** Any channels may be given at any steps, of each sample others: p(x_free | x_given). Given cells come first in every
step and have no logit of their own. A second recurrent network runs over them from the last step back to t, told which channels are
given; its state stands beside h_t and beside the input of the first. The convolution sees them on both sides, at step t, just
after it, and at the "lags" after it, with weights of their own.

**Cost.** Rolls have few cells on, and work follows these, with the result of the plain recursions:

* The hidden layer of a NADE changes only behind a cell that is on. A step with k cells on has k + 1 different hidden vectors,
  not D: these are computed once each ("segments" of the step), and a cell takes its logit from its segment's. Columns
  go in spans, and the logits of a span are computed for the segments that reach into it only.
* The masked convolution adds up the weights that the cells on meet, a span of columns at a time (``SparseConv``).
* Drawing asks the terms once per cell that comes on, and each keeps what it knows of the step so far.
"""

from __future__ import annotations

from musegen.networks.nade.network import Memory, RecurrentNADE
from musegen.networks.nade.recurrent import Recurrent
from musegen.networks.nade.terms import Given

__all__ = ["Given", "Memory", "Recurrent", "RecurrentNADE"]
