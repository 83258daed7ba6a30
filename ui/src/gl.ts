// The few things that every WebGL program needs.

/**
 * The graphics of the page. Their context takes a while to come, so it is made when first needed: what has to
 * be fetched is on its way by then.
 */
export class Device {
  private made: WebGL2RenderingContext | null = null;
  private slow = false;

  constructor(readonly canvas: HTMLCanvasElement) {}

  /** The context. Throws where there is none. */
  get gl(): WebGL2RenderingContext {
    if (!this.made) {
      const gl = this.canvas.getContext("webgl2", { antialias: false, alpha: false, preserveDrawingBuffer: true });
      if (!gl) throw new Error("this browser has no WebGL 2; try a current Firefox, Chrome or Safari with graphics switched on");
      this.slow = isSoftware(gl);
      this.made = gl;
    }
    return this.made;
  }

  /** Whether the graphics are computed by the processor, which wants smaller pictures. */
  get software(): boolean {
    return this.gl && this.slow;
  }

  /** Voxels that are drawn with ease: 64 million by a graphics card, 6 million by a processor. */
  get budget(): number {
    return this.software ? 6 << 20 : 64 << 20;
  }
}

/** Compiles a program; the log is the error's text. */
export function program(gl: WebGL2RenderingContext, vertex: string, fragment: string): WebGLProgram {
  const made = gl.createProgram();
  for (const [kind, source] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]] as const) {
    const shader = gl.createShader(kind);
    if (!shader) throw new Error("the graphics context is lost; reload the page");
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS) && !gl.isContextLost()) {
      throw new Error(`a shader does not compile: ${gl.getShaderInfoLog(shader) ?? ""}`);
    }
    gl.attachShader(made, shader);
  }
  gl.linkProgram(made);
  if (!gl.getProgramParameter(made, gl.LINK_STATUS) && !gl.isContextLost()) {
    throw new Error(`shaders do not link: ${gl.getProgramInfoLog(made) ?? ""}`);
  }
  return made;
}

/** Looks uniforms up once. */
export function uniforms<T extends string>(
  gl: WebGL2RenderingContext,
  of: WebGLProgram,
  names: readonly T[],
): Record<T, WebGLUniformLocation | null> {
  return Object.fromEntries(names.map((name) => [name, gl.getUniformLocation(of, name)])) as Record<
    T,
    WebGLUniformLocation | null
  >;
}

/** A vertex shader that fills a rectangle given in clip coordinates, without any buffer. */
export const RECTANGLE = `#version 300 es
uniform vec4 uRect;
out vec2 vAt;
void main() {
  vAt = vec2(gl_VertexID & 1, gl_VertexID >> 1);
  gl_Position = vec4(mix(uRect.xy, uRect.zw, vAt), 0.0, 1.0);
}`;

function isSoftware(gl: WebGL2RenderingContext): boolean {
  const extension = gl.getExtension("WEBGL_debug_renderer_info");
  const name: unknown = gl.getParameter(extension ? extension.UNMASKED_RENDERER_WEBGL : gl.RENDERER);
  return /swiftshader|llvmpipe|software/i.test(String(name));
}
