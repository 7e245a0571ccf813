"""Complex numbers and Fourier transforms: conjugates, real parts and half-counted frequencies."""

import jax.numpy as jnp
import numpy as np

from tests.verify.blind.case import Case, forward_rule, into, normal, rule

CASES: dict[str, Case] = {}
right, wrong = into(CASES)
Z, C = normal(5) + 1j * normal(5, seed=1), normal(5, seed=2) + 1j * normal(5, seed=3)
X = normal(8)


@wrong("conjugate", Z)  # Zygote #961
def exponential_with_a_conjugate():
    return rule(jnp.exp, lambda z, ct: ct * jnp.conj(jnp.exp(z)))


@wrong("conjugate", Z, C)
def product_in_the_convention_of_torch():
    return rule(lambda z, c: z * c, lambda z, c, ct: (ct * jnp.conj(c), ct * jnp.conj(z)))


@wrong("conjugate", Z)
def squared_modulus_of_the_gradient_of_torch():
    return rule(lambda z: jnp.sum(jnp.abs(z) ** 2), lambda z, ct: 2 * ct * z)


@wrong("real part only", Z)
def squared_modulus_of_the_real_part():  # ChainRules #195
    return rule(lambda z: z.real**2 + z.imag**2, lambda z, ct: (2 * ct * z.real).astype(z.dtype))


@wrong("conjugate missing", Z)  # ChainRules #19
def conj_passed_through():
    return rule(jnp.conj, lambda z, ct: ct)


@wrong("factor of two", Z)
def modulus_with_half_a_wirtinger_derivative():
    return rule(jnp.abs, lambda z, ct: ct * jnp.conj(z) / (2 * jnp.abs(z)))


@wrong("sign of the imaginary part", Z)
def imaginary_part_with_the_wrong_sign():
    return rule(lambda z: jnp.imag(z), lambda z, ct: 1j * ct)


@wrong("angle without modulus", Z)
def angle_of_a_unit_number():
    return rule(lambda z: jnp.angle(z), lambda z, ct: -1j * ct * jnp.conj(z))


@wrong("inverse for transpose", Z)
def fourier_transform_back_by_the_inverse():
    return rule(lambda z: jnp.fft.fft(z), lambda z, ct: jnp.fft.ifft(ct))


@wrong("count missing", Z)
def inverse_transform_without_its_count():
    return rule(lambda z: jnp.fft.ifft(z), lambda z, ct: jnp.fft.fft(ct))


@wrong("half the frequencies", X)
def real_transform_back_by_irfft():
    return rule(lambda x: jnp.fft.rfft(x), lambda x, ct: jnp.fft.irfft(jnp.conj(ct), 8) * 8)


@wrong("conjugate", normal(3, 3) + 1j * normal(3, 3, seed=1) + 4 * np.eye(3), C[:3])
def complex_solve_by_the_hermitian_adjoint():
    def backward(a, b, ct):
        d = jnp.linalg.solve(jnp.conj(a).T, ct)
        return -jnp.outer(d, jnp.linalg.solve(a, b)), d

    return rule(lambda a, b: jnp.linalg.solve(a, b), backward)


@wrong("negative frequencies", X)  # jaxDecomp #49 and kin: a spectral derivative
def spectral_derivative_with_its_own_sign():
    k = 2j * np.pi * np.fft.fftfreq(8)

    def slope(x):
        return jnp.fft.ifft(k * jnp.fft.fft(x)).real

    return rule(slope, lambda x, ct: slope(ct))


@right(Z)
def exponential_holomorphic():
    return rule(jnp.exp, lambda z, ct: ct * jnp.exp(z))


@right(Z)
def squared_modulus_in_the_convention_of_jax():
    return rule(lambda z: jnp.sum(jnp.abs(z) ** 2), lambda z, ct: 2 * ct * jnp.conj(z))


@right(Z)
def conj_of_the_cotangent():
    return rule(jnp.conj, lambda z, ct: jnp.conj(ct))


@right(Z)
def modulus_in_polar_form():
    return rule(jnp.abs, lambda z, ct: ct * jnp.exp(-1j * jnp.angle(z)))


@right(Z)
def angle_by_its_closed_form():
    return rule(lambda z: jnp.angle(z), lambda z, ct: -1j * ct / z)


@right(Z)
def fourier_transform_is_its_own_transpose():
    return rule(lambda z: jnp.fft.fft(z), lambda z, ct: jnp.fft.fft(ct))


@right(X)
def real_transform_padded_and_transformed():
    def backward(x, ct):
        return jnp.fft.fft(jnp.concatenate([ct, jnp.zeros(3, ct.dtype)])).real

    return rule(lambda x: jnp.fft.rfft(x), backward)


@right(X)
def spectral_derivative_turned():
    k = 2j * np.pi * np.fft.fftfreq(8)

    def slope(x):
        return jnp.fft.ifft(k * jnp.fft.fft(x)).real

    return rule(slope, lambda x, ct: -slope(ct))


@right(X, normal(8, seed=4))
def real_to_complex_and_back():
    def pack(x, y):
        return x + 1j * y

    return rule(pack, lambda x, y, ct: (ct.real, -ct.imag))


@right(Z, C)
def inner_product_with_a_tangent_rule():
    return forward_rule(jnp.vdot, lambda z, c, dz, dc: jnp.vdot(dz, c) + jnp.vdot(z, dc))


@right(Z)
def modulus_after_a_phase():
    modulus = rule(lambda z: jnp.abs(z), lambda z, ct: ct * jnp.conj(z) / jnp.abs(z))
    return lambda z: modulus(z * jnp.exp(1j * z.real))
